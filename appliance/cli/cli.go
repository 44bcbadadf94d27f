// Package cli is the command line: one file per command. A command turns its
// flags into a configs.Config for a node that it runs, or into a call of the
// local API of the node that runs already, and renders the answer for people
// on a terminal, for a pipe, or as JSON.
package cli

import (
	"context"
	"io"
	"time"

	"github.com/crawlbox/crawlbox/systemd"
)

// Exit codes of crawlbox.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	// Those of a node that its systemd must not start again.
	exitLeft  = systemd.ExitLeft
	exitFinal = systemd.ExitFinal
)

// Env is what a command has of its process.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            func() time.Time // for ages; nil: time.Now
}

// Run executes crawlbox with args, which are those of Args, and returns its
// exit code: 0 done, 1 failed, 2 wrong usage. When ctx ends, commands stop at
// the next safe moment.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return run(ctx, Env{Stdin: stdin, Stdout: stdout, Stderr: stderr}, args)
}

func run(ctx context.Context, env Env, args []string) int {
	root := New(env)
	root.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	return report(env.Stderr, root.ExecuteContext(ctx))
}
