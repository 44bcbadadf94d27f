package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

// watchEvery is how long a view stays before it is asked for again.
const watchEvery = 2 * time.Second

// Watches is Reads with --watch, which asks again and again until Ctrl-C. An error of a later
// answer is shown below the last good one: it is what one watches for.
func Watches[T any](a *App, cmd *cobra.Command, ask func(context.Context, *api.Client, []string) (T, error),
	render func(tui.Screen, T)) *cobra.Command {
	asJSON := JSONFlag(cmd)
	watch := cmd.Flags().BoolP("watch", "w", false, "show it again every 2s, until Ctrl-C")
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		v, err := ask(cmd.Context(), c, args)
		switch {
		case err != nil:
			return err
		case !*watch:
			return Show(a, *asJSON, v, render)
		}
		again := func() (T, error) { return ask(cmd.Context(), c, args) }
		if *asJSON {
			return Repeat(cmd.Context(), watchEvery, v, again, func(v T, _ error) error { return a.PrintJSON(v) })
		}
		var shown tui.Watch
		return Repeat(cmd.Context(), watchEvery, v, again, func(v T, err error) error {
			return shown.Show(a.Stdout(), func(s tui.Screen) {
				if render(s, v); err != nil {
					tui.WriteProblem(s, err.Error())
				}
			})
		})
	})
	return cmd
}

// WatchesAll is Watches for a question without arguments.
func WatchesAll[T any](a *App, cmd *cobra.Command, ask func(*api.Client, context.Context) (T, error),
	render func(tui.Screen, T)) *cobra.Command {
	asked := func(ctx context.Context, c *api.Client, _ []string) (T, error) { return ask(c, ctx) }
	return Watches(a, cmd, asked, render)
}

// Repeat shows a value and what is asked for again, after a time, until ctx ends or that fails. show gets the
// last good value, and why it could not be asked for since.
func Repeat[T any](
	ctx context.Context, every time.Duration, v T, again func() (T, error), show func(T, error) error,
) error {
	var failed error
	for {
		if err := show(v, failed); err != nil {
			return err
		}
		if clock.Sleep(ctx, every) != nil {
			return nil
		}
		next, err := again()
		if ctx.Err() != nil {
			return nil
		}
		if failed = err; err == nil {
			v = next
		}
	}
}
