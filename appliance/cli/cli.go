// Package cli is the command line: one file per command. A command turns its
// flags into a configs.Config for a node that it runs, or into a call of the
// local API of the node that runs already, and renders the answer for people
// on a terminal, for a pipe, or as JSON.
package cli

import (
	"context"
	"io"

	"github.com/redis/go-redis/v9/logging"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/systemd"
	"github.com/crawlbox/crawlbox/systemd/install"
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

// Run executes crawlbox with args, which are those of Args, and returns its
// exit code: 0 done, 1 failed, 2 wrong usage. When ctx ends, commands stop at
// the next safe moment.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	logging.Disable() // go-redis returns its errors too
	starts := install.LocalMachine().Starts
	return execute(ctx, command.Env{Stdin: stdin, Stdout: stdout, Stderr: stderr, Starts: starts}, args)
}

func execute(ctx context.Context, env command.Env, args []string) int {
	env.Stdout, env.Stderr = tui.Guard(env.Stdout), tui.Guard(env.Stderr)
	root := New(env)
	root.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	return report(env.Stderr, root.ExecuteContext(ctx))
}
