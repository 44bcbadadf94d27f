// Package command is what the commands of crawlbox share: what they have of their process and
// of the flags that all have, the client of the local API, checks of arguments, completions,
// and how an answer is shown. With it a new command is one file, that says its flags, its call
// and how its answer is drawn.
package command

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func (a *App) Stdout() tui.Screen { return tui.NewScreen(a.Env.Stdout, a.Env.Now, a.noColor) }
func (a *App) Stderr() tui.Screen { return tui.NewScreen(a.Env.Stderr, a.Env.Now, a.noColor) }

// ErrInterrupted is the end of what the user broke off.
var ErrInterrupted = errors.New("interrupted")

// App holds what all commands of one run share.
type App struct {
	Env      Env
	Version  string
	Config   string // path; empty: the default one
	Socket   string
	logLevel string
	noColor  bool
	Log      *slog.Logger // to stderr, from --log-level on
}

// Group makes cmd a command that only has others below it: alone it shows its
// help, and it refuses what is not there.
func Group(cmd *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subcommands...)
	cmd.Args = KnownCommand
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// KnownCommand refuses arguments that name no command below cmd.
func KnownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if docker, here := insteadOf(cmd, args); here != "" {
		return Usagef(cmd, "unknown command %q; here it is `%s`", docker, here)
	}
	if near := Guesses(cmd, args[0]); len(near) > 0 {
		return Usagef(cmd, "unknown command %q (did you mean %s?)", args[0], strings.Join(near, " or "))
	}
	return Usagef(cmd, "unknown command %q", args[0])
}

// ends are commands that end or remove something. They are no guess for a word that begins
// otherwise: who follows one blindly must not lose by it.
var ends = []string{"clear", "demote", "drain", "leave", "revoke", "rm", "stop", "uninstall"}

// Guesses returns the commands below cmd that a word may stand for, sorted: those that other
// tools call so, else those that begin with it, else those that it is a slip of.
func Guesses(cmd *cobra.Command, word string) []string {
	var same, begin, near []string
	least := max(1, min(2, len(word)-2))
	for _, c := range cmd.Commands() {
		name := c.Name()
		switch distance := words.Distance(word, name); {
		case !c.IsAvailableCommand():
		case slices.Contains(c.SuggestFor, word):
			same = append(same, name)
		case strings.HasPrefix(name, word):
			begin = append(begin, name)
		case slices.Contains(ends, name) && name[0] != word[0]:
		case distance < least:
			least, near = distance, []string{name}
		case distance == least:
			near = append(near, name)
		}
	}
	for _, list := range [][]string{same, begin, near} {
		if slices.Sort(list); len(list) > 0 {
			return list
		}
	}
	return nil
}

// Env holds what a command has of its process.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            func() time.Time // for ages; nil: time.Now
	// Starts reports whether the crawlbox of this machine is about to serve the usual socket; nil: it is not.
	Starts func(context.Context) bool
}

// Each makes what a command runs that does the same to several things, to each once, and says what
// is done, up to the first failure. Things have one name each, as known lists them.
func (a *App) Each(
	past string, known names, do func(*api.Client, context.Context, string) error,
) func(*cobra.Command, []string) error {
	return a.Asking(func(cmd *cobra.Command, c *api.Client, names []string) error {
		if slices.Contains(names, "") {
			return Usagef(cmd, "a name is empty")
		}
		there, err := known(cmd.Context(), c)
		if err != nil {
			return err
		}
		for _, name := range unknownFirst(names, there) {
			if err := do(c, cmd.Context(), name); err != nil {
				return err
			}
			if err := a.Printf("%s: %s\n", name, past); err != nil {
				return err
			}
		}
		return nil
	})
}

// unknownFirst returns each name once, and those that are not known, which are slips as a rule,
// before the others: one that fails is to fail before anything is done.
func unknownFirst(names, known []string) []string {
	var slips, others []string
	for _, name := range names {
		switch {
		case slices.Contains(slips, name), slices.Contains(others, name):
		case slices.Contains(known, name):
			others = append(others, name)
		default:
			slips = append(slips, name)
		}
	}
	return append(slips, others...)
}

// New returns what the commands of one run of crawlbox share. The log begins with
// startLog.
func New(env Env, version string) *App {
	if env.Now == nil {
		env.Now = time.Now
	}
	return &App{Env: env, Version: version, Log: slog.New(slog.DiscardHandler)}
}

// AddFlags adds the flags that all commands have.
func (a *App) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&a.Config, "config", "", "config `file` (default /etc/crawlbox/crawlbox.yaml)")
	f.StringVar(&a.Socket, "socket", "", "`path` of the local API (default from the config)")
	f.StringVar(&a.logLevel, "log-level", "info", "log `level`: debug, info, warn or error")
	f.BoolVar(&a.noColor, "no-color", false, "no colours, as with NO_COLOR set")
}
