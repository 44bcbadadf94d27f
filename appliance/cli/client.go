package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/configs"
)

// client returns a client of the crawlbox that runs here.
func (a *app) client() (*api.Client, error) {
	socket, err := a.findSocket()
	if err != nil {
		return nil, err
	}
	return api.NewClient(socket), nil
}

// findSocket does not fail for a config that is broken, or not to be read by
// this user: a crawlbox that runs has not taken it up, and has to be reached.
func (a *app) findSocket() (string, error) {
	if a.socket != "" {
		return a.socket, nil
	}
	if socket := os.Getenv("CRAWLBOX_SOCKET"); socket != "" {
		return socket, nil
	}
	cfg, err := configs.Load(a.config)
	switch {
	case err == nil:
		return cfg.Socket, nil
	case a.config != "":
		return "", err
	}
	a.log.Debug("the config cannot be read; ask at the usual socket", "err", err)
	return configs.Default().Socket, nil
}

// jsonFlag adds --json to cmd.
func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print JSON")
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.env.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.env.Stdout, format, args...)
	return err
}

// reads makes cmd a command that asks the API once and shows the answer, as
// JSON with --json.
func reads[T any](a *app, cmd *cobra.Command, ask func(context.Context, *api.Client, []string) (T, error), render func(screen, T)) *cobra.Command {
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		v, err := ask(cmd.Context(), c, args)
		if err != nil {
			return err
		}
		return show(a, *asJSON, v, render)
	}
	return cmd
}

// show prints v as JSON, or as render does.
func show[T any](a *app, asJSON bool, v T, render func(screen, T)) error {
	if asJSON {
		return a.printJSON(v)
	}
	s := a.stdout()
	page := &page{w: s.w}
	s.w = page
	render(s, v)
	return page.flush()
}
