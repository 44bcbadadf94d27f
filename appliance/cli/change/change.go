// Package change follows a change of services on the command line: it asks for it, shows how
// far it is, and says what goes on when the user breaks off. The commands that deploy and those
// that scale, stop or go back differ in what they ask for and in nothing else.
package change

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Change is a command that changes services and follows until it is true.
type Change struct {
	Services []string
	Run      Run
	Plan     func(context.Context, *api.Client) (deploy.Plan, error) // what Run would do, for --dry-run
	Done     func(deploy.Progress) string                            // the last line of a service
	Title    string                                                  // in a word; empty: the stage says it

	Interrupted func() string // what Ctrl-C leaves behind; nil: the change goes on
	begun       *bool         // something was heard of it; nil: it makes no difference
}

// Run asks for a change.
type Run func(ctx context.Context, c *api.Client, see func(deploy.Progress) error) error

// Asks returns what asks for a change by a request.
func Asks[Q any](call func(*api.Client, context.Context, Q, func(deploy.Progress) error) error, req Q) Run {
	return func(ctx context.Context, c *api.Client, see func(deploy.Progress) error) error {
		return call(c, ctx, req, see)
	}
}

// Plans returns what asks for the plan of a change by a request.
func Plans[Q any](
	call func(*api.Client, context.Context, Q) (deploy.Plan, error), req Q,
) func(context.Context, *api.Client) (deploy.Plan, error) {
	return func(ctx context.Context, c *api.Client) (deploy.Plan, error) { return call(c, ctx, req) }
}

// Flags holds the flags that all changes have.
type Flags struct {
	JSON, detach *bool
	DryRun       *bool // nil: it cannot be asked what would be done
}

// AddFlags adds --json and --detach.
func AddFlags(cmd *cobra.Command) Flags {
	return Flags{
		JSON:   command.JSONFlag(cmd),
		detach: cmd.Flags().BoolP("detach", "d", false, "return when the change is accepted, not when it is true"),
	}
}

// PlanFlag adds --dry-run.
func (f Flags) PlanFlag(cmd *cobra.Command) Flags {
	f.DryRun = cmd.Flags().Bool("dry-run", false, "say what would be done, change nothing")
	return f
}

// FollowFlags returns the flags of a change that ends with its client while it has only
// begun, so that no --detach is offered.
func FollowFlags(cmd *cobra.Command) Flags {
	return Flags{JSON: command.JSONFlag(cmd), detach: new(bool)}
}

// ErrDetached ends a stream of which enough was seen.
var ErrDetached = errors.New("detached")

// Follow makes a change and shows how far it is, until it is done or the user breaks off.
// With --dry-run it prints what would be done.
func Follow(a *command.App, cmd *cobra.Command, flags Flags, ch Change) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	if flags.DryRun != nil && *flags.DryRun {
		plan, err := ch.Plan(cmd.Context(), c)
		if err != nil {
			return err
		}
		return command.Show(a, *flags.JSON, plan, func(s tui.Screen, p deploy.Plan) { fmt.Fprintln(s.W, p) })
	}
	see, end := watcher(a, *flags.JSON, *flags.detach, ch)
	if *flags.detach {
		see = untilAccepted(a, *flags.JSON, ch, see)
	}
	err = ch.Run(cmd.Context(), c, see)
	end(err)
	switch {
	case errors.Is(err, ErrDetached):
		return nil
	case cmd.Context().Err() != nil:
		return fmt.Errorf("%w; %s", command.ErrInterrupted, ch.whatRemains())
	case errors.Is(err, api.ErrCut):
		const ended = "the crawlbox here stopped meanwhile (`crawlbox status` shows when it is back); "
		if ch.begun != nil && !*ch.begun {
			return fmt.Errorf(ended+"whether the change has begun shows `crawlbox history %s`", ch.Services[0])
		}
		return errors.New(ended + ch.whatRemains())
	}
	return err
}

// Begun reports whether something was heard of a deploy.
func (ch Change) Begun() bool { return ch.begun != nil && *ch.begun }

func (ch Change) whatRemains() string {
	if ch.Interrupted != nil {
		return ch.Interrupted()
	}
	return fmt.Sprintf("the change goes on, watch it with `crawlbox ps %s`", ch.Services[0])
}

// watcher returns what sees the events, and what must be called at the end.
func watcher(a *command.App, asJSON, detach bool, ch Change) (see func(deploy.Progress) error, end func(error)) {
	switch {
	case asJSON:
		enc := json.NewEncoder(a.Env.Stdout)
		enc.SetEscapeHTML(false)
		seen := false
		see = func(p deploy.Progress) error { seen = true; return enc.Encode(p) }
		return see, func(err error) {
			if seen {
				encodeFailures(enc, err)
			}
		}
	case detach:
		return func(deploy.Progress) error { return nil }, func(error) {}
	}
	p := tui.NewProgress(a.Stdout(), ch.Services, ch.Done)
	stop := p.Start()
	return p.See, func(err error) {
		if stop(); err != nil {
			p.Fail()
		}
	}
}

// encodeFailures writes why changes failed that had begun, a line each.
func encodeFailures(enc *json.Encoder, err error) {
	for _, err := range words.SplitErrors(err) {
		if failed, ok := errors.AsType[*api.Error](err); ok {
			_ = enc.Encode(struct {
				deploy.Progress
				Err *api.Error `json:"error"`
			}{Err: failed})
		}
	}
}

// untilAccepted ends the stream after the first event of each service: by then
// Swarm has all of the change.
func untilAccepted(a *command.App, asJSON bool, ch Change,
	see func(deploy.Progress) error) func(deploy.Progress) error {
	accepted := map[string]bool{}
	return func(e deploy.Progress) error {
		if err := see(e); err != nil || e.Service == "" {
			return err
		}
		if !accepted[e.Service] && !asJSON {
			if err := a.Printf("%s: %s accepted\n", e.Service, cmp.Or(ch.Title, e.Title())); err != nil {
				return err
			}
		}
		accepted[e.Service] = true
		if len(accepted) >= len(ch.Services) {
			return ErrDetached
		}
		return nil
	}
}

// OfDeploy returns the change that follows a deploy. Broken off before the service is
// changed, it has done nothing.
func OfDeploy(service, image string, run Run) Change {
	untouched, begun := true, false
	image = ImageName(image, "")
	return Change{
		Services: []string{service},
		begun:    &begun,
		Done:     func(e deploy.Progress) string { return image + ", " + tui.Summary(e) },
		Run: func(ctx context.Context, c *api.Client, see func(deploy.Progress) error) error {
			return run(ctx, c, func(e deploy.Progress) error {
				untouched, begun = e.Stage.Untouched(), true
				return see(e)
			})
		},
		Interrupted: func() string {
			if untouched {
				return "nothing was changed; the nodes keep what they have of the image, and the same command goes " +
					"on from there"
			}
			return fmt.Sprintf("the deploy goes on, watch it with `crawlbox ps %s`, see its end with `crawlbox "+
				"history %s`, or undo it with `crawlbox rollback %s`", service, service, service)
		},
	}
}

// ImageName returns the short name of the image that a service runs.
func ImageName(image, otherwise string) string {
	image, _, _ = strings.Cut(image, "@")
	return fleet.FamiliarImage(cmp.Or(image, otherwise))
}

// RenderPlans shows what would be done with services.
func RenderPlans(s tui.Screen, plans []deploy.Plan) {
	for _, p := range plans {
		fmt.Fprintln(s.W, p)
	}
}
