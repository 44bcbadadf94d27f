package apitest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// Build implements Backend. It reads all files, speaks as the builder that was
// asked for, and fails where the Dockerfile is called broken.
func (c *Cluster) Build(_ context.Context, q api.BuildRequest, files io.Reader, fn func(api.BuildEvent) error) error {
	if err := c.manager(); err != nil {
		return err
	}
	c.mu.Unlock()
	if _, err := io.Copy(io.Discard, files); err != nil {
		return err
	}
	name := "localhost:8003/" + q.Repository + ":" + cmp.Or(q.Tag, "0.03")
	said := api.BuildEvent{Step: &image.Step{
		N:     1,
		Name:  "[1/1] FROM scratch",
		State: image.StepDone,
		Took:  200 * time.Millisecond,
	}}
	switch {
	case q.Builder == image.Classic && len(q.Secrets) > 0:
		return fail(api.CodeInvalid, "build secrets need BuildKit")
	case q.Builder == image.Classic:
		said = api.BuildEvent{Line: "Step 1/1 : FROM scratch"}
	}
	for _, e := range []api.BuildEvent{said, {Push: &image.PushProgress{
		Layers:   2,
		Existing: 1,
		Done:     1,
		Total:    10e6,
	}}} {
		if err := fn(e); err != nil {
			return err
		}
	}
	if q.DockerfileName == "broken" {
		return fail(api.CodeFailed, "build failed at step 1/1: FROM scratch: no such thing")
	}
	return fn(api.BuildEvent{Image: name + "@" + digest(name)})
}

// Push implements Backend. Docker has every image here but one called nothing.
func (c *Cluster) Push(_ context.Context, q api.PushRequest, fn func(api.BuildEvent) error) error {
	if err := c.manager(); err != nil {
		return err
	}
	c.mu.Unlock()
	if q.Image == "nothing" {
		return fail(api.CodeNotFound, "Docker has no image nothing here")
	}
	if err := fn(api.BuildEvent{Push: &image.PushProgress{Layers: 2, Done: 2, Total: 10e6, Bytes: 10e6}}); err != nil {
		return err
	}
	name := "localhost:8003/" + q.Repository + ":" + cmp.Or(q.Tag, "0.03")
	return fn(api.BuildEvent{Image: name + "@" + digest(name)})
}

// Deploy implements Backend. Of three nodes, h2 gets the image last.
func (c *Cluster) Deploy(ctx context.Context, req api.DeployRequest, fn func(deploy.Progress) error) error {
	if err := c.manager(); err != nil {
		return err
	}
	c.mu.Unlock()
	if req.Defined && req.Service == "robot" {
		return fn(deploy.Progress{
			Service: req.Service,
			Stage:   history.StageUnchanged,
			Running: 2,
			Desired: 2,
			Done:    &deploy.Summary{},
		})
	}
	e := deploy.Progress{Service: req.Service, Stage: history.StagePull}
	for have := range 4 {
		e.Pulled = deploy.Pulled{Have: have, Nodes: 3, Bytes: int64(have) * 10e6, Total: 30e6}
		if have == 2 {
			e.Pulled.Late = "h2"
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	if err := c.begin(ctx, deploy.Progress{Service: req.Service, Stage: history.StageWatch, Desired: 3},
		fn); err != nil {
		return err
	}
	c.change(req.Service, func(s *fleet.Service) { s.Image, _, _ = strings.Cut(req.Image, "@") })
	return fn(deploy.Progress{
		Service: req.Service,
		Stage:   history.StageWatch,
		Running: 3,
		Desired: 3,
		Done:    finish(deploy.Summary{Started: 3, Stopped: 3}),
	})
}

func (c *Cluster) DeployPlan(_ context.Context, req api.DeployRequest) (deploy.Plan, error) {
	if err := c.manager(); err != nil {
		return deploy.Plan{}, err
	}
	c.mu.Unlock()
	p := deploy.Plan{
		Service: req.Service,
		Action:  deploy.Replace,
		Changes: []string{"image"},
		Steps:   []string{"pull: bring " + req.Image + " onto 3 nodes", "update: service " + req.Service},
	}
	switch {
	case req.Build != nil:
		name := "localhost:8003/" + req.Build.Repository + ":" + cmp.Or(req.Build.Tag, "0.03")
		p.Steps = append([]string{"build: " + req.Build.From + " as " + name + ", and push it"}, p.Steps...)
		p.Steps[1] = "pull: bring " + name + " onto 3 nodes"
	case !req.Defined:
	case req.Service == "robot":
		return deploy.Plan{Service: req.Service, Action: deploy.Unchanged}, nil
	case req.Service == "site":
		p.Action, p.Changes, p.Steps[0] = deploy.Create, nil, "build: site"
	}
	return p, nil
}

// Definitions implements Backend: the services of a config file, of which site
// is built of the directory it is in, and robot is as it should be.
func (c *Cluster) Definitions(context.Context) ([]api.Definition, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	const file = "/etc/crawlbox/crawlbox.yaml"
	return []api.Definition{
		{Name: "robot", Image: "localhost:8003/robot:1", File: file, Away: c.away},
		{
			Name:  "site",
			Build: &compose.Build{Context: "site", Repository: "site", Args: map[string]string{"A": "b"}},
			File:  file,
		},
	}, nil
}

// Source implements Backend. Only of batch it is known what it was built of.
func (c *Cluster) Source(_ context.Context, service string) (history.Source, error) {
	s, err := c.found(service)
	if s.Name == "batch" {
		return history.Source{Path: "robot", Flags: []string{"build-arg=A=b", "no-cache=true"}}, err
	}
	return history.Source{}, err
}

func (c *Cluster) UpdatePlan(ctx context.Context, req api.UpdateRequest) (deploy.Plan, error) {
	if _, err := c.found(req.Service); err != nil {
		return deploy.Plan{}, err
	}
	return c.DeployPlan(ctx, api.DeployRequest{Service: req.Service, Image: req.Image})
}

func (c *Cluster) RestartPlan(_ context.Context, service string) (deploy.Plan, error) {
	s, err := c.found(service)
	return deploy.Plan{Service: s.Name, Steps: []string{"update: replace the replicas of service " + s.Name}}, err
}

func (c *Cluster) ScalePlan(_ context.Context, req api.ScaleRequest) (plan deploy.Plan, err error) {
	for _, name := range slices.Sorted(maps.Keys(req.Replicas)) {
		s, err := c.found(name)
		if err != nil {
			return plan, err
		}
		plan.Steps = append(plan.Steps,
			fmt.Sprintf("scale: service %s from %d to %d replicas", s.Name, s.Desired, req.Replicas[name]))
	}
	return plan, nil
}

func (c *Cluster) Rollback(ctx context.Context, req api.RollbackRequest, fn func(deploy.Progress) error) error {
	if _, err := c.found(req.Service); err != nil {
		return err
	}
	image := "localhost:8003/" + req.Service + ":0.01"
	return c.Deploy(ctx, api.DeployRequest{Service: req.Service, Image: image}, func(p deploy.Progress) error {
		if p.Done != nil {
			p.Done.From, p.Done.Image = cmp.Or(req.Version, 1), image
		}
		return fn(p)
	})
}

func (c *Cluster) Restart(ctx context.Context, service string, fn func(deploy.Progress) error) error {
	s, err := c.found(service)
	if err != nil {
		return err
	}
	return c.Deploy(ctx, api.DeployRequest{Service: s.Name, Image: s.Image}, fn)
}

func (c *Cluster) History(_ context.Context, service string) ([]history.Entry, error) {
	if _, err := c.found(service); err != nil {
		return nil, err
	}
	return someHistory(service, c.now), nil
}
