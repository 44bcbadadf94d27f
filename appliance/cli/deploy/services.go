package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/change"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

// forServices lists the flags that mean something where services are deployed. What
// such a service is given stands in its definition, or stays as it is.
var forServices = []string{
	"builder", "dry-run", "json", "max-context", "no-cache", "pull", "stage-quorum", "stage-timeout", "start-timeout",
}

// deployServices builds what is to be built, one after the other, and deploys all
// at the same time.
func deployServices(a *command.App, cmd *cobra.Command, c *api.Client, f *deployFlags, list []target) error {
	if err := f.onlyForServices(cmd, list); err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("crawlbox.yaml has no services; write them there, or name a directory, a program or an " +
			"image to deploy")
	}
	if *f.DryRun {
		return planServices(a, cmd.Context(), c, f, list)
	}
	var failed []error
	var ready []api.DeployRequest
	images := map[string]string{}
	for _, d := range list {
		req := f.requestFor(d)
		if d.Build != nil || d.of.Path != "" {
			image, err := buildAgain(a, cmd.Context(), c, f, d)
			if cmd.Context().Err() != nil {
				return err
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", d.Name, err))
				continue
			}
			req.Image = image
		}
		if d.of.Path != "" {
			req.Source = &d.of
		}
		images[d.Name] = change.ImageName(req.Image, d.Image)
		ready = append(ready, req)
	}
	if len(ready) == 0 {
		return errors.Join(failed...)
	}
	err := change.Follow(a, cmd, f.Flags, deployAll(ready, images))
	return errors.Join(append(failed, words.SplitErrors(err)...)...)
}

// onlyForServices refuses flags that are of no use to services. One may be meant for what has the name
// of a service here.
func (f *deployFlags) onlyForServices(cmd *cobra.Command, chosen []target) error {
	name := otherFlag(cmd, forServices)
	if name == "" {
		return nil
	}
	for _, t := range chosen {
		if t.shadows() {
			return command.Usagef(cmd, "--%s is for a directory or an image, and %s is the service of %s; write ./%s "+
				"for what is here under that name", name, t.Name, t.File, t.Name)
		}
	}
	return command.Usagef(cmd, "--%s is for a directory or an image; what a service is given stands in crawlbox.yaml",
		name)
}

// otherFlag returns a flag that was given and is none of these; empty: there is none.
func otherFlag(cmd *cobra.Command, these []string) (name string) {
	cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
		if name == "" && flag.Changed && !slices.Contains(these, flag.Name) {
			name = flag.Name
		}
	})
	return name
}

// requestFor asks for a service as the config file has it, or, where it is not from
// there, for its image again.
func (f *deployFlags) requestFor(d target) api.DeployRequest {
	req := api.DeployRequest{
		Service:      d.Name,
		Defined:      d.File != "",
		StageQuorum:  f.req.StageQuorum,
		StageTimeout: f.req.StageTimeout,
		StartTimeout: f.req.StartTimeout,
	}
	if !req.Defined {
		req.Image = d.Image
	}
	return req
}

// planServices prints what would be done with each service.
func planServices(a *command.App, ctx context.Context, c *api.Client, f *deployFlags, list []target) error {
	plans := []deploy.Plan{}
	var failed []error
	for _, d := range list {
		req := f.requestFor(d)
		if d.of.Path != "" {
			req.Image, req.Build = "", &api.ToBuild{
				From:       d.of.Path,
				Repository: strings.ToLower(d.Name),
				Platform:   d.of.Flag("platform"),
			}
		}
		plan, err := c.DeployPlan(ctx, req)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", d.Name, err))
			continue
		}
		plans = append(plans, plan)
	}
	return errors.Join(append(failed, command.Show(a, *f.JSON, plans, change.RenderPlans))...)
}

// deployAll deploys services at the same time, whatever comes of the others.
func deployAll(reqs []api.DeployRequest, images map[string]string) change.Change {
	all := &deployed{stages: map[string]history.Stage{}}
	ch := change.Change{Interrupted: all.interrupted}
	for _, req := range reqs {
		ch.Services = append(ch.Services, req.Service)
	}
	ch.Done = func(e deploy.Progress) string {
		if e.Stage == history.StageUnchanged {
			return "unchanged, " + tui.TaskCounts(e)
		}
		return images[e.Service] + ", " + tui.Summary(e)
	}
	ch.Run = func(ctx context.Context, c *api.Client, see func(deploy.Progress) error) error {
		errs := make([]error, len(reqs))
		var running sync.WaitGroup
		for i, req := range reqs {
			running.Go(func() { errs[i] = c.Deploy(ctx, req, all.seen(req.Service, see)) })
		}
		running.Wait()
		return errors.Join(errs...)
	}
	return ch
}

// deployed holds how far each of several deploys is.
type deployed struct {
	mu     sync.Mutex
	stages map[string]history.Stage
}

func (d *deployed) seen(service string, see func(deploy.Progress) error) func(deploy.Progress) error {
	return func(e deploy.Progress) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.stages[service] = e.Stage
		if e.Done != nil {
			d.stages[service] = history.StageUnchanged
		}
		return see(e)
	}
}

func (d *deployed) interrupted() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var on []string
	for service, stage := range d.stages {
		if !stage.Untouched() {
			on = append(on, service)
		}
	}
	if len(on) == 0 {
		return "what was not done is as it was; the same command goes on from there"
	}
	slices.Sort(on)
	return fmt.Sprintf("the deploy of %s goes on, see its end with `crawlbox ls`; the others that were not done are "+
		"as they were", strings.Join(on, ", "))
}
