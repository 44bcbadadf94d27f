// Command crawlbox turns bare Linux servers into a crawler cluster on Docker
// Swarm.
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
