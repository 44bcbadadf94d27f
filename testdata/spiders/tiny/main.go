// Command tiny is a container that costs next to nothing: it says which image it
// came from and waits for SIGTERM. With TINY_EXIT=N it ends with that code at
// once, as a spider does that is done or that crashes.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	host, _ := os.Hostname()
	fmt.Printf("tiny from %s on %s\n", os.Getenv("IMAGE"), host)
	if text, ok := os.LookupEnv("TINY_EXIT"); ok {
		code, err := strconv.Atoi(text)
		if err != nil {
			fmt.Fprintln(os.Stderr, "tiny: TINY_EXIT is no number:", text)
			code = 2
		}
		os.Exit(code)
	}
	<-stop
	fmt.Println("tiny: asked to stop")
}
