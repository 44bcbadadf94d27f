package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Changes answers for the changes of services that Swarm makes by itself.
type Changes interface {
	Scale(ctx context.Context, req ScaleRequest, fn func(deploy.Progress) error) error
	ScalePlan(ctx context.Context, req ScaleRequest) (deploy.Plan, error)
	Start(ctx context.Context, req StartRequest, fn func(deploy.Progress) error) error
	StartPlan(ctx context.Context, req StartRequest) (deploy.Plan, error)
	Update(ctx context.Context, req UpdateRequest, fn func(deploy.Progress) error) error
	UpdatePlan(ctx context.Context, req UpdateRequest) (deploy.Plan, error)
	RemoveService(ctx context.Context, service string, fn func(deploy.Progress) error) error
	Autoscale(ctx context.Context, req AutoscaleRequest) error
	// Autoscaled returns what a service does that follows a queue, or all of them, by name.
	Autoscaled(ctx context.Context, service string) ([]fleet.Scaling, error)
}

func ChangesArea(c Changes) Area {
	return Area{
		"POST /v1/scale":                Events(changeLag, asked(scaleRequest, c.Scale)),
		"POST /v1/scale/plan":           Value(answered(scaleRequest, c.ScalePlan)),
		"POST /v1/start":                Events(changeLag, asked(startRequest, c.Start)),
		"POST /v1/start/plan":           Value(answered(startRequest, c.StartPlan)),
		"POST /v1/update":               Events(changeLag, asked(updateRequest, c.Update)),
		"POST /v1/update/plan":          Value(answered(updateRequest, c.UpdatePlan)),
		"DELETE /v1/services/{service}": Events(changeLag, asked(service, c.RemoveService)),
		"POST /v1/autoscale":            Action(done(autoscaleRequest, c.Autoscale)),
		"GET /v1/autoscale":             List(answered(query(optional, "service"), c.Autoscaled)),
	}
}

// ScaleRequest asks for numbers of replicas, by service.
type ScaleRequest struct {
	Replicas map[string]int `json:"replicas"`
	Auto     []string       `json:"auto,omitempty"` // services that follow their queues again
	Now      bool           `json:"now,omitempty"`  // kill the containers, without their grace time; all Replicas are 0
}

// AutoscaleRequest asks for the replicas of a service to follow a queue.
type AutoscaleRequest struct {
	Service string          `json:"service"`
	Rule    *scalerule.Rule `json:"rule,omitempty"` // nil: no longer
}

// StartRequest asks for services to run again, with as many replicas as they had.
type StartRequest struct {
	Services []string `json:"services"`
}

// UpdateRequest asks for another image.
type UpdateRequest struct {
	Service      string `json:"service"`
	Image        string `json:"image"`
	StopFirstAll bool   `json:"stop_first_all"` // stop every replica, then start the new version
}

// Scale changes numbers of replicas and calls fn with each step until all of
// them are true. It fails with the first event that carries an error.
func (c *Client) Scale(ctx context.Context, req ScaleRequest, fn func(deploy.Progress) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/scale", req, failing(fn))
}

// ScalePlan returns what Scale would do.
func (c *Client) ScalePlan(ctx context.Context, req ScaleRequest) (v deploy.Plan, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/scale/plan", req, &v)
}

// Start runs services again that were stopped or have finished, as Scale does.
func (c *Client) Start(ctx context.Context, req StartRequest, fn func(deploy.Progress) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/start", req, failing(fn))
}

// StartPlan returns what Start would do.
func (c *Client) StartPlan(ctx context.Context, req StartRequest) (v deploy.Plan, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/start/plan", req, &v)
}

// Update brings a service to another image, as Scale does.
func (c *Client) Update(ctx context.Context, req UpdateRequest, fn func(deploy.Progress) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/update", req, failing(fn))
}

// UpdatePlan returns what Update would do.
func (c *Client) UpdatePlan(ctx context.Context, req UpdateRequest) (v deploy.Plan, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/update/plan", req, &v)
}

// Autoscale has the replicas of a service follow a queue, or no longer.
func (c *Client) Autoscale(ctx context.Context, req AutoscaleRequest) error {
	return c.call(ctx, http.MethodPost, "/v1/autoscale", req, nil)
}

// Autoscaled returns what a service does whose replicas follow a queue, and why; empty: all of them, by name.
func (c *Client) Autoscaled(ctx context.Context, service string) (v []fleet.Scaling, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/autoscale?"+url.Values{"service": {service}}.Encode(), nil, &v)
}

// RemoveService removes a service and follows until its containers are gone.
func (c *Client) RemoveService(ctx context.Context, service string, fn func(deploy.Progress) error) error {
	return stream(ctx, c, http.MethodDelete, "/v1/services/"+url.PathEscape(service), nil, failing(fn))
}

func scaleRequest(r *http.Request) (req ScaleRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.Any("replicas", req.Replicas))
	if len(req.Auto) > 0 {
		note(r, slog.Any("auto", req.Auto))
	}
	if len(req.Replicas)+len(req.Auto) == 0 {
		return req, Invalid("scale needs at least one service")
	}
	for _, service := range req.Auto {
		if _, twice := req.Replicas[service]; service == "" || twice {
			return req, Invalid("cannot scale %q both by its queue and to a number", service)
		}
	}
	for service, n := range req.Replicas {
		if service == "" || n < 0 {
			return req, Invalid("cannot scale %q to %d; replicas must be 0 or more", service, n)
		}
		if req.Now && n > 0 {
			return req, Invalid("cannot scale %q to %d now; only what stops is killed", service, n)
		}
	}
	return req, nil
}

func autoscaleRequest(r *http.Request) (req AutoscaleRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.String("service", req.Service))
	if req.Service == "" {
		return req, Invalid("autoscale needs a service")
	}
	if req.Rule == nil {
		note(r, slog.Bool("off", true))
		return req, nil
	}
	note(r, slog.String("rule", req.Rule.String()))
	if part, reason := req.Rule.Check(); reason != "" {
		return req, Invalid("%s %s", part, reason)
	}
	return req, nil
}

func startRequest(r *http.Request) (req StartRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.Any("services", req.Services))
	if len(req.Services) == 0 || slices.Contains(req.Services, "") {
		return req, Invalid("start needs the names of services")
	}
	return req, nil
}

func updateRequest(r *http.Request) (req UpdateRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.String("service", req.Service), slog.String("image", req.Image))
	if req.Service == "" || req.Image == "" {
		return req, Invalid("update needs a service and an image")
	}
	return req, nil
}
