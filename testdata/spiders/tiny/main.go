// Command tiny is a container that costs next to nothing: it says which image it
// came from and waits for SIGTERM. With TINY_EXIT=N it ends with that code at
// once, as a spider does that is done or that crashes; with TINY_EAT=N it takes
// so many MiB of memory first, and with TINY_LONG=N it writes so many lines of 40 kB to its
// output and short ones to its errors, with TINY_NOISE=N so many of 1 kB that can't be
// compressed much, and works for TINY_WORK before each; TINY_SAY is what it says, with
// TINY_LASTS it ends after so long where nothing asks it to stop before, and with TINY_DEAF it
// is deaf to SIGTERM. It says which arguments it was given. Called with the word health it is
// its own health check, which fails where TINY_SICK says why.
package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "health" {
		os.Exit(health())
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	host, _ := os.Hostname()
	fmt.Printf("tiny from %s on %s\n", os.Getenv("IMAGE"), host)
	if args := os.Args[1:]; len(args) > 0 {
		fmt.Println("tiny: with", strings.Join(args, " "))
	}
	if text := os.Getenv("TINY_SAY"); text != "" {
		fmt.Println(text)
	}
	eaten := make([]byte, number("TINY_EAT")<<20)
	for i := 0; i < len(eaten); i += os.Getpagesize() {
		eaten[i] = 1
	}
	for n := range number("TINY_LONG") {
		fmt.Printf("%s %d %s.\n", os.Getenv("TINY_NAME"), n, strings.Repeat("x", 40_000))
		fmt.Fprintf(os.Stderr, "%s %d short\n", os.Getenv("TINY_NAME"), n)
	}
	work, _ := time.ParseDuration(os.Getenv("TINY_WORK"))
	for n := range number("TINY_NOISE") {
		for until := time.Now().Add(work); time.Now().Before(until); {
		}
		noise := make([]byte, 480)
		_, _ = rand.Read(noise) // it does not fail
		fmt.Printf("noise %d %x\n", n, noise)
	}
	if text, lasts := os.LookupEnv("TINY_LASTS"); lasts {
		last, _ := time.ParseDuration(text)
		select {
		case <-time.After(last):
			os.Exit(number("TINY_EXIT"))
		case <-stop:
			fmt.Println("tiny: asked to stop")
			os.Exit(0)
		}
	}
	if _, ends := os.LookupEnv("TINY_EXIT"); ends {
		os.Exit(number("TINY_EXIT"))
	}
	for <-stop; os.Getenv("TINY_DEAF") != ""; {
		<-stop
	}
	fmt.Println("tiny: asked to stop")
}

func health() int {
	if why := os.Getenv("TINY_SICK"); why != "" {
		fmt.Println(why)
		return 1
	}
	return 0
}

// number is what a variable says, 0 where it is not there.
func number(name string) int {
	text, there := os.LookupEnv(name)
	n, err := strconv.Atoi(text)
	if there && err != nil {
		fmt.Fprintf(os.Stderr, "tiny: %s is no number: %s\n", name, text)
		os.Exit(2)
	}
	return n
}
