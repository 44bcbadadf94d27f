package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// Deploys bring versions to services, and know which there were.
type Deploys interface {
	Deploy(ctx context.Context, req DeployRequest, fn func(deploy.Progress) error) error
	DeployPlan(ctx context.Context, req DeployRequest) (deploy.Plan, error)
	Rollback(ctx context.Context, req RollbackRequest, fn func(deploy.Progress) error) error
	Restart(ctx context.Context, service string, fn func(deploy.Progress) error) error
	RestartPlan(ctx context.Context, service string) (deploy.Plan, error)
	History(ctx context.Context, service string) ([]history.Entry, error)
	Source(ctx context.Context, service string) (history.Source, error)
	Definitions(ctx context.Context) ([]Definition, error)
}

func DeploysArea(d Deploys) Area {
	return Area{
		"POST /v1/deploy":                          Events(changeLag, asked(builtRequest, d.Deploy)),
		"POST /v1/deploy/plan":                     Value(answered(deployRequest, d.DeployPlan)),
		"POST /v1/rollback":                        Events(changeLag, asked(rollbackRequest, d.Rollback)),
		"POST /v1/services/{service}/restart":      Events(changeLag, asked(service, d.Restart)),
		"POST /v1/services/{service}/restart/plan": Value(answered(service, d.RestartPlan)),
		"GET /v1/history/{service}":                List(answered(service, d.History)),
		// Builds are given arguments, and some of them are secret.
		"GET /v1/services/{service}/source": Secret(Value(answered(service, d.Source))),
		"GET /v1/definitions":               Secret(List(plain(d.Definitions))),
	}
}

// DeployRequest asks for a version of a service, which is made where there is
// none. What is zero stays as it is, or is the default of a new one.
type DeployRequest struct {
	Service string `json:"service"`
	Image   string `json:"image"`
	// of a plan: what would be built first, in place of Image
	Build *ToBuild `json:"build,omitempty"`
	// what the image was built of, to be kept for the next time
	Source *history.Source `json:"source,omitempty"`
	// as the config file has it; Image is then what was built for it, or empty
	Defined      bool              `json:"defined,omitempty"`
	Replicas     *int              `json:"replicas,omitempty"`
	Env          map[string]string `json:"env,omitempty"` // replaces values of the same name
	CPUs         float64           `json:"cpus,omitempty"`
	Memory       int64             `json:"memory,omitempty"` // bytes
	MaxPerNode   uint64            `json:"max_per_node,omitempty"`
	Constraints  []string          `json:"constraints,omitempty"` // replace those there are
	Parallelism  string            `json:"parallelism,omitempty"` // 25%, 5 or all; default 25%
	Delay        time.Duration     `json:"delay_ns,omitempty"`
	Monitor      time.Duration     `json:"monitor_ns,omitempty"`       // default 5s
	StartTimeout time.Duration     `json:"start_timeout_ns,omitempty"` // until a replica is healthy; default 10m
	FailureRatio float64           `json:"failure_ratio,omitempty"`    // 0 to 1
	StartFirst   bool              `json:"start_first,omitempty"`
	StageQuorum  string            `json:"stage_quorum,omitempty"`     // of the nodes; default 100%
	StageTimeout time.Duration     `json:"stage_timeout_ns,omitempty"` // default 5m
}

// ToBuild is an image that is not built yet.
type ToBuild struct {
	From       string `json:"from"`               // directory or program
	Repository string `json:"repository"`         // where it goes, such as spider
	Tag        string `json:"tag,omitempty"`      // empty: the next one
	Platform   string `json:"platform,omitempty"` // that it is for; empty: the builder's own
}

// RollbackRequest asks for a version that a service ran before.
type RollbackRequest struct {
	Service string `json:"service"`
	Version int    `json:"version,omitempty"` // 0: the last good one with another image
}

// Definition is a service of the config file.
type Definition struct {
	Name  string         `json:"name"`
	Image string         `json:"image,omitempty"`
	Build *compose.Build `json:"build,omitempty"` // nil: its image is there
	File  string         `json:"file"`
	Away  bool           `json:"away,omitempty"` // a person removed it, and it waits until it is deployed by its name
}

// Deploy brings a service to a version and calls fn with each step, as Scale does.
// When ctx ends before the service is changed nothing has happened; after that the
// deploy goes on.
func (c *Client) Deploy(ctx context.Context, req DeployRequest, fn func(deploy.Progress) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/deploy", req, failing(fn))
}

// DeployPlan returns what Deploy would do.
func (c *Client) DeployPlan(ctx context.Context, req DeployRequest) (v deploy.Plan, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/deploy/plan", req, &v)
}

// Definitions returns the services of the config file, which it reads for that.
func (c *Client) Definitions(ctx context.Context) (v []Definition, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/definitions", nil, &v)
}

// Source returns what a service was built of the last time; without a path it is
// not known.
func (c *Client) Source(ctx context.Context, service string) (v history.Source, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/services/"+url.PathEscape(service)+"/source", nil, &v)
}

// Rollback brings a service back to a version that it ran before, as Deploy does.
func (c *Client) Rollback(ctx context.Context, req RollbackRequest, fn func(deploy.Progress) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/rollback", req, failing(fn))
}

// Restart replaces the tasks of a service by new ones of the same version, as Deploy
// does.
func (c *Client) Restart(ctx context.Context, service string, fn func(deploy.Progress) error) error {
	return stream(ctx, c, http.MethodPost, "/v1/services/"+url.PathEscape(service)+"/restart", nil, failing(fn))
}

// RestartPlan returns what Restart would do.
func (c *Client) RestartPlan(ctx context.Context, service string) (v deploy.Plan, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/services/"+url.PathEscape(service)+"/restart/plan", nil, &v)
}

// History returns what was deployed of a service, newest first.
func (c *Client) History(ctx context.Context, service string) (v []history.Entry, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/history/"+url.PathEscape(service), nil, &v)
}

func deployRequest(r *http.Request) (req DeployRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.String("service", req.Service), slog.String("image", req.Image))
	switch {
	case req.Service == "" || req.Image == "" && !req.Defined && req.Build == nil:
		return req, Invalid("deploy needs a service and an image")
	case req.Build != nil && (req.Image != "" || req.Build.Repository == ""):
		return req, Invalid("what is to be built has the name of its repository, and is no image yet")
	case !req.Defined && naming.CheckService(req.Service) != nil:
		return req, Invalid("%s", naming.CheckService(req.Service))
	case req.Replicas != nil && *req.Replicas < 0:
		return req, Invalid("the number of replicas can't be negative")
	case req.CPUs < 0 || req.Memory < 0 || req.Delay < 0 || req.Monitor < 0 || req.StageTimeout < 0 ||
		req.StartTimeout < 0:
		return req, Invalid("limits and times can't be negative")
	case req.CPUs > 0 && req.CPUs < bound.LeastCPUs, req.Memory > 0 && req.Memory < bound.LeastMemory:
		return req, Invalid("a replica needs %g processors and %d bytes of memory at least", bound.LeastCPUs,
			bound.LeastMemory)
	case req.FailureRatio < 0 || req.FailureRatio > 1:
		return req, Invalid("the failure ratio is %g; it must be from 0 to 1", req.FailureRatio)
	}
	return req, nil
}

// builtRequest is one whose image is there.
func builtRequest(r *http.Request) (DeployRequest, error) {
	req, err := deployRequest(r)
	if err == nil && req.Build != nil {
		err = Invalid("the image of service %s is not built yet", req.Service)
	}
	return req, err
}

func rollbackRequest(r *http.Request) (req RollbackRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.String("service", req.Service), slog.Int("version", req.Version))
	if req.Service == "" || req.Version < 0 {
		return req, Invalid("rollback needs a service, and maybe a version of it")
	}
	return req, nil
}
