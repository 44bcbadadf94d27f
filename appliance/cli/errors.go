package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/join"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/systemd/journal"
	"github.com/crawlbox/crawlbox/systemd/notify"
)

// usageError is a command line that crawlbox does not understand.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v; see '%s --help'", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{command: cmd.CommandPath(), err: fmt.Errorf(format, args...)}
}

// errInterrupted is the end of what the user broke off.
var errInterrupted = errors.New("interrupted")

// report prints err, one line for each error that is joined in it, and returns
// the exit code. A wrong command line is quoted in its error, and may have a
// join string in the wrong place.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, node.ErrLeft) {
		return exitLeft
	}
	level := ""
	if journal.Is(w) {
		level = journal.ErrorPrefix
	}
	for _, e := range unjoin(err) {
		if errors.Is(e, context.Canceled) {
			e = errInterrupted
		}
		fmt.Fprintf(w, "%scrawlbox: %s\n", level, withoutJoin(oneLine(e.Error())))
	}
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case notify.Listening() && join.Final(err):
		return exitFinal
	}
	return exitFailed
}

// unjoin takes apart what errors.Join made. Other errors with several causes
// have words of their own around them.
func unjoin(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err}
	}
	return joined.Unwrap()
}

// oneLine keeps text of others from breaking out of its line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// argument says how many arguments a command takes, and what they are called.
type argument struct {
	min, max int // max < 0: no bound
	name     string
}

func (a argument) check(cmd *cobra.Command, args []string) error {
	self := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
	switch {
	case len(args) < a.min:
		return usagef(cmd, "%s needs %s", self, a.name)
	case a.max == 0 && len(args) > 0:
		return usagef(cmd, "%s takes no arguments, got %q", self, args[0])
	case a.max >= 0 && len(args) > a.max:
		return usagef(cmd, "%s takes only %s, got %q too", self, a.name, args[a.max])
	}
	return nil
}

func noArgs(cmd *cobra.Command, args []string) error { return argument{}.check(cmd, args) }

func exactlyOne(name string) cobra.PositionalArgs { return argument{1, 1, name}.check }

func atMostOne(name string) cobra.PositionalArgs { return argument{0, 1, name}.check }

func atLeast(n int, name string) cobra.PositionalArgs { return argument{n, -1, name}.check }
