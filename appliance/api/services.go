package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
	"github.com/crawlbox/crawlbox/configs"
)

// Services answers for the services of the swarm, and their tasks.
type Services interface {
	Services(ctx context.Context) ([]fleet.Service, error)
	Inspect(ctx context.Context, service string) (Inspect, error)
	Tasks(ctx context.Context, q TaskQuery) ([]fleet.Task, error)
}

func ServicesArea(s Services) Area {
	return Area{
		"GET /v1/services": List(plain(s.Services)),
		"GET /v1/services/{service}": Value(func(r *http.Request) (Inspect, error) {
			v, err := s.Inspect(r.Context(), r.PathValue("service"))
			if err == nil {
				// A user who reads the answer, or stores it as a record, asked for no secrets.
				v.Spec, err = configs.HideSecrets(v.Spec)
			}
			return v, err
		}),
		"GET /v1/tasks": List(answered(taskQuery, s.Tasks)),
	}
}

// Logs answers with what tasks write.
type Logs interface {
	Logs(ctx context.Context, q LogQuery, fn func(LogLine) error) error
}

func LogsArea(l Logs) Area {
	return Area{"GET /v1/logs": Events(logLag, asked(logQuery, l.Logs))}
}

// Programs runs programs in the containers of tasks.
type Programs interface {
	// Execute returns the connection to a program, in the frames of package taskexec. The task of a
	// request is named as people do.
	Execute(ctx context.Context, r taskexec.Request) (io.ReadWriteCloser, error)
}

func ProgramsArea(p Programs) Area {
	return Area{"POST /v1/exec": Tunnel(func(r *http.Request) (io.ReadWriteCloser, error) {
		var req taskexec.Request
		if err := body(r, &req); err != nil {
			return nil, err
		}
		if !req.Valid() {
			return nil, Invalid("name a task and a program")
		}
		return p.Execute(r.Context(), req)
	})}
}

// Execute runs a program in a task's container; taskexec.Run goes on with the connection.
func (c *Client) Execute(ctx context.Context, r taskexec.Request) (io.ReadWriteCloser, error) {
	//lint:ignore bodyclose it is the connection that is returned
	resp, err := c.ask(ctx, http.MethodPost, "/v1/exec", r, taskexec.Ask)
	if err != nil {
		return nil, err
	}
	return taskexec.Answered(resp)
}

// TaskQuery chooses tasks. Empty fields choose all.
type TaskQuery struct {
	Service string // name or ID
	Node    string // name or ID
	All     bool   // also those that have ended and were replaced
}

// LogQuery chooses log lines.
type LogQuery struct {
	Target string // a service, or one task: its name (spider.3) or ID
	Follow bool
	Tail   int       // last lines of each task; negative: all
	Since  time.Time // zero: from the beginning
	Node   string    // name or ID; empty: all
	All    bool      // also of tasks that have ended and were replaced, and of other versions
	Grep   string    // only lines that this expression matches; empty: all
	Run    bool      // the target is a run
}

// MaxGrep is how long an expression may be, in bytes.
const MaxGrep = 1 << 10

// LogLine is one line that a task wrote, or, where Task is empty, a word of
// crawlbox about the stream itself.
type LogLine struct {
	Time    time.Time `json:"time,omitzero"`
	Task    string    `json:"task"`
	TaskID  string    `json:"task_id"`
	Node    string    `json:"node"`
	Version string    `json:"version,omitempty"` // the tag of its image
	Mixed   bool      `json:"mixed,omitempty"`   // there are lines of several versions
	Stream  string    `json:"stream"`            // stdout or stderr
	Text    string    `json:"text"`
	Cut     bool      `json:"cut,omitempty"` // the line is very long, and goes on in the next of its task and stream
}

// Inspect is a service in whole: crawlbox's view and Docker's own JSON, with
// secrets hidden.
type Inspect struct {
	fleet.Service
	Spec any `json:"spec"`
}

// Services returns all services by name.
func (c *Client) Services(ctx context.Context) (v []fleet.Service, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/services", nil, &v)
}

// Inspect returns a service with Docker's own description of it.
func (c *Client) Inspect(ctx context.Context, service string) (v Inspect, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/services/"+url.PathEscape(service), nil, &v)
}

// Tasks returns the tasks chosen, by service, slot and age.
func (c *Client) Tasks(ctx context.Context, q TaskQuery) (v []fleet.Task, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/tasks?"+q.values().Encode(), nil, &v)
}

// Logs calls fn for each line until the logs end, ctx ends, or fn fails.
func (c *Client) Logs(ctx context.Context, q LogQuery, fn func(LogLine) error) error {
	return stream(ctx, c, http.MethodGet, "/v1/logs?"+q.values().Encode(), nil, fn)
}

func (q TaskQuery) values() url.Values {
	return url.Values{"service": {q.Service}, "node": {q.Node}, "all": {strconv.FormatBool(q.All)}}
}

func (q LogQuery) values() url.Values {
	v := url.Values{
		"target": {q.Target},
		"follow": {strconv.FormatBool(q.Follow)},
		"tail":   {strconv.Itoa(q.Tail)},
		"node":   {q.Node},
		"all":    {strconv.FormatBool(q.All)},
	}
	if q.Grep != "" {
		v.Set("grep", q.Grep)
	}
	if q.Run {
		v.Set("run", "true")
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	return v
}

func taskQuery(r *http.Request) (TaskQuery, error) {
	q := r.URL.Query()
	all, err := flag(r, "all")
	return TaskQuery{Service: q.Get("service"), Node: q.Get("node"), All: all}, err
}

func logQuery(r *http.Request) (q LogQuery, err error) {
	if q.Target, err = needed(r, "target"); err != nil {
		return q, err
	}
	if q.Follow, err = flag(r, "follow"); err != nil {
		return q, err
	}
	if q.Tail, err = number(r, "tail", -1); err != nil {
		return q, err
	}
	if q.All, err = flag(r, "all"); err != nil {
		return q, err
	}
	if q.Run, err = flag(r, "run"); err != nil {
		return q, err
	}
	q.Node, q.Grep = r.URL.Query().Get("node"), r.URL.Query().Get("grep")
	if len(q.Grep) > MaxGrep {
		return q, Invalid("the expression has %d bytes, %d are the most", len(q.Grep), MaxGrep)
	}
	q.Since, err = moment(r, "since")
	return q, err
}
