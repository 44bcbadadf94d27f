package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

// change is a command that changes services and follows until it is true.
type change struct {
	services []string
	run      func(context.Context, *api.Client, func(api.Event) error) error
	done     func(api.Event) string // the last line of a service

	brokenOff func() string // what Ctrl-C leaves behind; nil: the change goes on
}

// changeFlags are the flags that all changes have.
type changeFlags struct {
	json, detach *bool
	dryRun       *bool // nil: it cannot be asked what would be done
}

func addChangeFlags(cmd *cobra.Command) changeFlags {
	return changeFlags{
		json:   jsonFlag(cmd),
		detach: cmd.Flags().BoolP("detach", "d", false, "return when the change is accepted, not when it is true"),
	}
}

// planFlag adds --dry-run.
func (f changeFlags) planFlag(cmd *cobra.Command) changeFlags {
	f.dryRun = cmd.Flags().Bool("dry-run", false, "say what would be done, change nothing")
	return f
}

// showPlan prints what would be done.
func (a *app) showPlan(cmd *cobra.Command, asJSON bool, ask func(context.Context, *api.Client) (api.Plan, error)) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	plan, err := ask(cmd.Context(), c)
	if err != nil {
		return err
	}
	return show(a, asJSON, plan, func(s screen, p api.Plan) {
		if p.Action != "" {
			renderPlans(s, []api.Plan{p})
			return
		}
		for _, step := range p.Steps {
			fmt.Fprintln(s.w, step)
		}
	})
}

// followFlags are those of a change that ends with its client while it has only
// begun, so that nobody can detach from it.
func followFlags(cmd *cobra.Command) changeFlags {
	return changeFlags{json: jsonFlag(cmd), detach: new(bool)}
}

// errDetached ends a stream of which enough was seen.
var errDetached = errors.New("detached")

func (a *app) follow(cmd *cobra.Command, flags changeFlags, ch change) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	see, end := a.watcher(*flags.json, *flags.detach, ch)
	if *flags.detach {
		see = a.untilAccepted(*flags.json, ch, see)
	}
	err = ch.run(cmd.Context(), c, see)
	end()
	switch {
	case errors.Is(err, errDetached):
		return nil
	case cmd.Context().Err() != nil:
		return fmt.Errorf("%w; %s", errInterrupted, ch.whatRemains())
	}
	return err
}

func (ch change) whatRemains() string {
	if ch.brokenOff != nil {
		return ch.brokenOff()
	}
	return fmt.Sprintf("the change goes on, watch it with `crawlbox ps %s`", ch.services[0])
}

// watcher returns what sees the events, and what is to be called at the end.
func (a *app) watcher(asJSON, detach bool, ch change) (see func(api.Event) error, end func()) {
	switch {
	case asJSON:
		enc := json.NewEncoder(a.env.Stdout)
		enc.SetEscapeHTML(false)
		return func(e api.Event) error { return enc.Encode(e) }, func() {}
	case detach:
		return func(api.Event) error { return nil }, func() {}
	}
	p := newProgress(a.stdout(), a.env.Now, ch)
	return p.see, p.start()
}

// untilAccepted ends the stream after the first event of each service: by then
// Swarm has all of the change.
func (a *app) untilAccepted(asJSON bool, ch change, see func(api.Event) error) func(api.Event) error {
	accepted := map[string]bool{}
	return func(e api.Event) error {
		if err := see(e); err != nil || e.Err != nil || e.Service == "" {
			return err
		}
		if !accepted[e.Service] && !asJSON {
			if err := a.printf("%s: %s accepted\n", e.Service, strings.TrimSpace(e.Step)); err != nil {
				return err
			}
		}
		accepted[e.Service] = true
		if len(accepted) >= len(ch.services) {
			return errDetached
		}
		return nil
	}
}

// summary is "50 running in 12.3s (p50 4.1s, p95 9.0s, slowest node h7 11.2s)",
// "3 complete in 2.0s" of spiders whose queue is empty, or "stopped, 50 containers gone in 3.2s".
func summary(e api.Event) string {
	s := e.Done
	if e.Desired == 0 {
		return fmt.Sprintf("stopped, %s gone in %s", count(s.Stopped, "container"), took(s.Took))
	}
	text := fmt.Sprintf("%s in %s", fare(e), took(s.Took))
	if s.Started == 0 {
		return text
	}
	text += fmt.Sprintf(" (p50 %s, p95 %s", took(s.P50), took(s.P95))
	if s.Slowest != "" {
		text += fmt.Sprintf(", slowest node %s %s", s.Slowest, took(s.SlowestTook))
	}
	return text + ")"
}

// fare is "3 running", "3 complete", or "1 running, 2 complete".
func fare(e api.Event) string {
	complete := fmt.Sprintf("%d complete", e.Complete)
	switch e.Complete {
	case 0:
		return fmt.Sprintf("%d running", e.Running)
	case e.Running:
		return complete
	}
	return fmt.Sprintf("%d running, %s", e.Running-e.Complete, complete)
}
