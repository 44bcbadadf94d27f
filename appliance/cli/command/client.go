package command

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/configs"
)

// Client returns a client of the crawlbox that runs here.
func (a *App) Client() (*api.Client, error) {
	socket, err := a.findSocket()
	if err != nil {
		return nil, err
	}
	c := api.NewClient(socket)
	if a.UsualSocket() {
		c.Starts = a.Env.Starts
	}
	return c, nil
}

// UsualSocket reports whether the config names the socket: a node with another one
// may have another data directory too.
func (a *App) UsualSocket() bool { return a.Socket == "" && os.Getenv("CRAWLBOX_SOCKET") == "" }

// findSocket does not fail for a config that is broken, or not to be read by
// this user: a crawlbox that runs has not taken it up, and has to be reached.
func (a *App) findSocket() (string, error) {
	if a.Socket != "" {
		return a.Socket, nil
	}
	if socket := os.Getenv("CRAWLBOX_SOCKET"); socket != "" {
		return socket, nil
	}
	cfg, err := configs.Load(a.Config)
	switch {
	case err == nil:
		return cfg.Socket, nil
	case a.Config != "":
		return "", err
	}
	a.Log.Debug("the config cannot be read; ask at the usual socket", "err", err)
	return configs.Default().Socket, nil
}

// JSONFlag adds --json to cmd.
func JSONFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print JSON")
}

func (a *App) PrintJSON(v any) error {
	enc := json.NewEncoder(a.Env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *App) Printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.Env.Stdout, format, args...)
	return err
}

// Say prints a sentence.
func (a *App) Say(format string, args ...any) error {
	return a.Stdout().Say(fmt.Sprintf(format, args...))
}

// Tell prints a sentence beside the output, which programs may read.
func (a *App) Tell(format string, args ...any) error {
	return a.Stderr().Say(fmt.Sprintf(format, args...))
}

// Asking makes of what a command does with the client of the crawlbox here what it runs.
func (a *App) Asking(
	do func(cmd *cobra.Command, c *api.Client, args []string) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.Client()
		if err != nil {
			return err
		}
		return do(cmd, c, args)
	}
}

// Several makes of what is done with one of something a command for several of them, which says that of each, or prints
// their names as JSON.
func (a *App) Several(cmd *cobra.Command, what string, list names, do func(*api.Client, context.Context, string) error,
	said string) *cobra.Command {
	cmd.Args = AtLeast(1, what)
	cmd.ValidArgsFunction = a.Complete(list)
	asJSON := JSONFlag(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		for _, name := range args {
			if err := do(c, cmd.Context(), name); err != nil {
				return err
			}
			if *asJSON {
				continue
			}
			if err := a.Say(said, name); err != nil {
				return err
			}
		}
		if *asJSON {
			return a.PrintJSON(args)
		}
		return nil
	})
	return cmd
}

// Reads makes cmd a command that asks the API once and shows the answer, as
// JSON with --json.
func Reads[T any](a *App, cmd *cobra.Command, ask func(context.Context, *api.Client, []string) (T, error),
	render func(tui.Screen, T)) *cobra.Command {
	asJSON := JSONFlag(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		v, err := ask(cmd.Context(), c, args)
		if err != nil {
			return err
		}
		return Show(a, *asJSON, v, render)
	})
	return cmd
}

// ReadsAll is Reads for a question without arguments.
func ReadsAll[T any](a *App, cmd *cobra.Command, ask func(*api.Client, context.Context) (T, error),
	render func(tui.Screen, T)) *cobra.Command {
	return Reads(a, cmd, func(ctx context.Context, c *api.Client, _ []string) (T, error) { return ask(c, ctx) }, render)
}

// Show prints v as JSON, or as render does.
func Show[T any](a *App, asJSON bool, v T, render func(tui.Screen, T)) error {
	if asJSON {
		return a.PrintJSON(v)
	}
	s := a.Stdout()
	page := &tui.Page{W: s.W}
	s.W = page
	render(s, v)
	return page.Flush()
}
