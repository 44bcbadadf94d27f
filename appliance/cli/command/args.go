package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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

// values says what flags of a type take.
var values = map[string]string{
	"bool":     "it is true or false",
	"duration": "it is a time such as 5s",
	"float64":  "it is a number such as 0.5",
	"int":      "it is a whole number",
	"uint16":   "it is a number from 0 to 65535",
	"uint64":   "it is a whole number, 0 or more",
}

// FlagError returns the UsageError for a flag that was not understood, without Go's words for it.
func FlagError(cmd *cobra.Command, err error) error {
	if _, here := insteadOf(cmd, cmd.Flags().Args()); here != "" { // the flags are of docker's command too
		return KnownCommand(cmd, cmd.Flags().Args())
	}
	invalid := (*pflag.InvalidValueError)(nil)
	if !errors.As(err, &invalid) {
		return Usagef(cmd, "%w", err)
	}
	flag := invalid.GetFlag()
	is, ok := values[flag.Value.Type()]
	if !ok { // a type of our own says it itself
		is = invalid.Unwrap().Error()
	}
	return Usagef(cmd, "--%s is %q; %s", flag.Name, invalid.GetValue(), is)
}

// Exit returns what ends crawlbox with an exit code and without a word; nil for 0.
func Exit(code int) error {
	if code == 0 {
		return nil
	}
	return ExitError(code)
}

// ExitError is an exit code that says all there is to say.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

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
