// Command waiter says what built it, makes a temporary file and waits for SIGTERM.
// It is a module of its own, as a user's is.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println("go spider of", runtime.Version())
	notes, err := os.CreateTemp("", "seen")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("keeps notes in", notes.Name())
	<-stop
	fmt.Println("go spider: asked to stop")
}
