// Command crawlbox turns bare Linux servers into a crawler cluster on Docker
// Swarm. It is one program for servers and for those who sit before them, so that
// one file is all that has to be brought anywhere.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/crawlbox/crawlbox/appliance/cli"
)

func main() {
	args := cli.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(cli.Run(ctx, args, os.Stdin, os.Stdout, os.Stderr))
}
