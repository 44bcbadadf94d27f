package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/schedule"
	"github.com/crawlbox/crawlbox/configs"
)

// Runs answers for runs: those that run, and those of which a record is kept.
type Runs interface {
	// Begin begins a run and does not wait for it.
	Begin(ctx context.Context, req RunRequest) (runs.Record, error)
	// Rerun begins one as another was: of the same image, with the same parameters.
	Rerun(ctx context.Context, id string) (runs.Record, error)
	Run(ctx context.Context, id string) (runs.Record, error)
	// Runs returns the newest first, without their tasks and variables.
	Runs(ctx context.Context, q RunQuery) ([]runs.Record, error)
	// StopRun ends one and does not wait for that.
	StopRun(ctx context.Context, id string) error
	// RemoveRun drops the record of one that has ended.
	RemoveRun(ctx context.Context, id string) error
}

func RunsArea(r Runs) Area {
	return Area{
		"POST /v1/runs":            Value(shown(answered(runRequest, r.Begin))),
		"GET /v1/runs":             List(answered(runQuery, r.Runs)),
		"GET /v1/runs/{id}":        Value(shown(answered(runID, r.Run))),
		"POST /v1/runs/{id}/rerun": Value(shown(answered(runID, r.Rerun))),
		"POST /v1/runs/{id}/stop":  Action(done(runID, r.StopRun)),
		"DELETE /v1/runs/{id}":     Action(done(runID, r.RemoveRun)),
	}
}

// shown hides the secrets that a run was given: a user who reads the answer, or stores it, asked for none.
func shown(call func(*http.Request) (runs.Record, error)) func(*http.Request) (runs.Record, error) {
	return func(r *http.Request) (runs.Record, error) {
		v, err := call(r)
		if err != nil {
			return v, err
		}
		for _, values := range []*map[string]string{&v.Variables, &v.Args} {
			if *values, err = hidden(*values); err != nil {
				return v, err
			}
		}
		return v, nil
	}
}

func hidden(values map[string]string) (map[string]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	plain, err := configs.HideSecrets(values)
	if err != nil {
		return nil, err
	}
	shown := map[string]string{}
	for name, value := range plain.(map[string]any) {
		shown[name], _ = value.(string)
	}
	return shown, nil
}

// RunRequest asks for a run.
type RunRequest struct {
	Service  string            `json:"service,omitempty"` // or Image
	Image    string            `json:"image,omitempty"`
	Name     string            `json:"name,omitempty"` // of the run; empty: one is made up
	Args     map[string]string `json:"args,omitempty"`
	Env      map[string]string `json:"env,omitempty"`
	Command  []string          `json:"command,omitempty"`
	Replicas int               `json:"replicas"`
	Retries  int               `json:"retries"`
	Timeout  time.Duration     `json:"timeout_ns,omitempty"` // 0: none
}

// RunQuery chooses runs. What is zero chooses all.
type RunQuery struct {
	Of     string    // a service, a schedule, or the name of an image
	Failed bool      // ended otherwise than done
	Since  time.Time // asked for after that
	Most   int       // 0: all
}

// Begin begins a run and does not wait for it.
func (c *Client) Begin(ctx context.Context, req RunRequest) (v runs.Record, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/runs", req, &v)
}

// Rerun begins a run as another was.
func (c *Client) Rerun(ctx context.Context, id string) (v runs.Record, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/runs/"+url.PathEscape(id)+"/rerun", nil, &v)
}

// Run returns all that is known of a run.
func (c *Client) Run(ctx context.Context, id string) (v runs.Record, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/runs/"+url.PathEscape(id), nil, &v)
}

// Runs returns the runs chosen, the newest first.
func (c *Client) Runs(ctx context.Context, q RunQuery) (v []runs.Record, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/runs?"+q.values().Encode(), nil, &v)
}

// StopRun ends a run and does not wait for that.
func (c *Client) StopRun(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, "/v1/runs/"+url.PathEscape(id)+"/stop", nil, nil)
}

// RemoveRun drops the record of a run.
func (c *Client) RemoveRun(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/runs/"+url.PathEscape(id), nil, nil)
}

func (q RunQuery) values() url.Values {
	v := url.Values{"of": {q.Of}, "failed": {strconv.FormatBool(q.Failed)}, "most": {strconv.Itoa(q.Most)}}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	return v
}

func runRequest(r *http.Request) (req RunRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.String("service", req.Service), slog.String("image", req.Image), slog.String("name", req.Name))
	if (req.Service == "") == (req.Image == "") {
		return req, Invalid("a run is of a service or of an image; name one of them")
	}
	return req, nil
}

func runQuery(r *http.Request) (q RunQuery, err error) {
	q.Of = r.URL.Query().Get("of")
	if q.Failed, err = flag(r, "failed"); err != nil {
		return q, err
	}
	if q.Most, err = number(r, "most", 0); err != nil {
		return q, err
	}
	q.Since, err = moment(r, "since")
	return q, err
}

func runID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	note(r, slog.String("run", id))
	return id, nil
}

// Schedules answers for schedules: what begins runs at planned times.
type Schedules interface {
	// Schedules returns all by name.
	Schedules(ctx context.Context) ([]Schedule, error)
	// AddSchedule makes one. One of the name that is there is a conflict, unless it is to be replaced.
	AddSchedule(ctx context.Context, req ScheduleRequest) (Schedule, error)
	RemoveSchedule(ctx context.Context, name string) error
	// PauseSchedule has one begin no more runs, until it is resumed.
	PauseSchedule(ctx context.Context, name string) error
	// ResumeSchedule has one begin runs from the next planned time on.
	ResumeSchedule(ctx context.Context, name string) error
}

func SchedulesArea(s Schedules) Area {
	return Area{
		"GET /v1/schedules":                List(listed(s)),
		"POST /v1/schedules":               Value(added(s)),
		"DELETE /v1/schedules/{name}":      Action(done(scheduleName, s.RemoveSchedule)),
		"POST /v1/schedules/{name}/pause":  Action(done(scheduleName, s.PauseSchedule)),
		"POST /v1/schedules/{name}/resume": Action(done(scheduleName, s.ResumeSchedule)),
	}
}

// Schedule is one, with what comes next.
type Schedule struct {
	schedule.Entry
	Coming []schedule.Coming `json:"coming"`           // the next planned times; none of one that is paused
	Bad    string            `json:"bad,omitempty"`    // why it has none; empty: it has
	Live   []string          `json:"live,omitempty"`   // its runs that have not ended
	Behind bool              `json:"behind,omitempty"` // its clock was ahead, and it waits until that time is there
}

// ScheduleRequest asks for a schedule.
type ScheduleRequest struct {
	schedule.Schedule
	Replace bool `json:"replace,omitempty"` // one of the name
}

func listed(s Schedules) func(*http.Request) ([]Schedule, error) {
	return func(r *http.Request) ([]Schedule, error) {
		list, err := s.Schedules(r.Context())
		for i := range list {
			if err == nil {
				list[i].Args, err = hidden(list[i].Args)
			}
		}
		return list, err
	}
}

func added(s Schedules) func(*http.Request) (Schedule, error) {
	return func(r *http.Request) (v Schedule, err error) {
		var req ScheduleRequest
		if err := body(r, &req); err != nil {
			return v, err
		}
		note(r, slog.String("schedule", req.Name), slog.String("service", req.Service))
		if v, err = s.AddSchedule(r.Context(), req); err == nil {
			v.Args, err = hidden(v.Args)
		}
		return v, err
	}
}

func scheduleName(r *http.Request) (string, error) {
	name := r.PathValue("name")
	note(r, slog.String("schedule", name))
	return name, nil
}

// Schedules returns all schedules by name.
func (c *Client) Schedules(ctx context.Context) (v []Schedule, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/schedules", nil, &v)
}

// AddSchedule makes a schedule.
func (c *Client) AddSchedule(ctx context.Context, req ScheduleRequest) (v Schedule, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/schedules", req, &v)
}

// RemoveSchedule removes a schedule. Its runs stay.
func (c *Client) RemoveSchedule(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/schedules/"+url.PathEscape(name), nil, nil)
}

// PauseSchedule has a schedule begin no more runs.
func (c *Client) PauseSchedule(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/v1/schedules/"+url.PathEscape(name)+"/pause", nil, nil)
}

// ResumeSchedule has a schedule begin runs from the next planned time on.
func (c *Client) ResumeSchedule(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/v1/schedules/"+url.PathEscape(name)+"/resume", nil, nil)
}
