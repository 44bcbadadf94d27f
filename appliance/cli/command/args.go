package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// UsageError is a command line that crawlbox does not understand.
type UsageError struct {
	command string
	err     error
}

func (e *UsageError) Error() string {
	return fmt.Sprintf("%v; see '%s --help'", e.err, e.command)
}

func (e *UsageError) Unwrap() error { return e.err }

func Usagef(cmd *cobra.Command, format string, args ...any) error {
	return &UsageError{command: cmd.CommandPath(), err: fmt.Errorf(format, args...)}
}

// argument says how many arguments a command takes, and what they are called.
type argument struct {
	min, max int // max < 0: no bound
	name     string
}

func (a argument) check(cmd *cobra.Command, args []string) error {
	self := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
	switch {
	case len(args) < a.min:
		return Usagef(cmd, "%s needs %s", self, a.name)
	case a.max == 0 && len(args) > 0:
		return Usagef(cmd, "%s takes no arguments, got %q", self, args[0])
	case a.max >= 0 && len(args) > a.max:
		return Usagef(cmd, "%s takes only %s, got %q too", self, a.name, args[a.max])
	}
	return nil
}

func NoArgs(cmd *cobra.Command, args []string) error { return argument{}.check(cmd, args) }

// ExactlyOne requires one argument, called name.
func ExactlyOne(name string) cobra.PositionalArgs { return argument{1, 1, name}.check }

// AtMostOne allows one argument, called name, or none.
func AtMostOne(name string) cobra.PositionalArgs { return argument{0, 1, name}.check }

// AtLeast requires n arguments or more, called name.
func AtLeast(n int, name string) cobra.PositionalArgs { return argument{n, -1, name}.check }

// Between requires least arguments or more, and not more than most.
func Between(least, most int, name string) cobra.PositionalArgs {
	return argument{least, most, name}.check
}

// SplitErrors returns the errors that errors.Join has joined. Other errors with several causes
// have words of their own around them.
func SplitErrors(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err}
	}
	return joined.Unwrap()
}
