// Package logs has managers read what nodes keep of the logs of their tasks, and keep the part of it that explains how
// tasks ended, so that a node that is lost takes no explanation with it. What is searched for is searched where it
// lies: a node sends the lines that are meant, a page at a time.
package logs

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/logstore"
	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

const (
	// listTimeout and readTimeout bound the questions.
	listTimeout = 10 * time.Second
	readTimeout = 30 * time.Second
	// maxListed bounds the tasks of one node that are read: the newest count.
	maxListed = 5000
	// pageLen is how long a page is, in bytes of lines.
	pageLen = 128 << 10
	// maxPage bounds a page as JSON: of a byte it makes six at the most.
	maxPage = 6*(pageLen+tasklog.MaxLine) + 1<<20
	// maxGrep bounds an expression, in bytes.
	maxGrep = 1 << 10
	// maxExcerpts bounds the excerpts of an answer, in bytes of lines, and recentExcerpts those of tasks that changed
	// long ago which a manager without any gets.
	maxExcerpts    = 1 << 20
	recentExcerpts = 1000
	// maxLines bounds the lines of a page or an excerpt: each counts as 32 bytes at the least.
	maxLines = (pageLen + tasklog.MaxLine) / 32
)

// Which says whose logs are meant. A task is if one of the names is its own or its service's.
type Which struct {
	Names []string  `json:"names"`
	Since time.Time `json:"since,omitzero"`
}

func (w Which) means(t logstore.Task) bool {
	named := slices.ContainsFunc(w.Names, func(name string) bool {
		return name == t.Service || name == t.Name || name == t.ID
	})
	return named && (w.Since.IsZero() || t.Ended.IsZero() || !t.Ended.Before(w.Since))
}

type listAnswer struct {
	Tasks []logstore.Task `json:"tasks"`
	More  bool            `json:"more,omitempty"` // there are older ones
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *listAnswer) UnmarshalJSON(data []byte) (err error) {
	var is struct {
		Tasks json.RawMessage `json:"tasks"`
		More  bool            `json:"more"`
	}
	if err = json.Unmarshal(data, &is); err == nil {
		a.More = is.More
		a.Tasks, err = bound.List[logstore.Task](is.Tasks, maxListed)
	}
	return err
}

var listCall = agent.Call[Which, listAnswer]{
	Route:      agent.RouteLogsKept,
	MaxRequest: 64 << 10,
	MaxAnswer:  maxListed * 1 << 10,
	Timeout:    listTimeout,
	Valid:      func(w Which) bool { return len(w.Names) > 0 && len(w.Names) <= 16 },
	Invalid:    "not the name of a task",
}

// readRequest asks for a page of a task's log.
type readRequest struct {
	Task  string          `json:"task"` // ID
	From  logstore.Cursor `json:"from"`
	Tail  int             `json:"tail,omitempty"` // begin with the last lines instead
	Since time.Time       `json:"since,omitzero"`
	Grep  string          `json:"grep,omitempty"`
}

func (r readRequest) filter() (f logstore.Filter, err error) {
	f.Since = r.Since
	if r.Grep != "" {
		f.Match, err = regexp.Compile(r.Grep)
	}
	return f, err
}

// page is a logstore.Page as it comes from a node.
type page struct{ logstore.Page }

// UnmarshalJSON implements json.Unmarshaler.
func (p *page) UnmarshalJSON(data []byte) (err error) {
	var is struct {
		Lines json.RawMessage
		Next  logstore.Cursor
		End   bool
	}
	if err = json.Unmarshal(data, &is); err == nil {
		p.Next, p.End = is.Next, is.End
		p.Lines, err = bound.List[tasklog.Line](is.Lines, maxLines)
	}
	return err
}

var readCall = agent.Call[readRequest, page]{
	Route:      agent.RouteLogsRead,
	MaxRequest: 16 << 10,
	MaxAnswer:  maxPage,
	Timeout:    readTimeout,
	Valid: func(r readRequest) bool {
		_, err := r.filter()
		return logstore.ValidID(r.Task) && len(r.Grep) <= maxGrep && err == nil && r.Tail >= 0
	},
	Invalid:  "not a part of a log",
	Failures: []agent.Failure{{Err: fs.ErrNotExist, Status: http.StatusNotFound, Text: "no log of that task is kept"}},
}

type excerptsRequest struct {
	After int64 `json:"after"` // what changed since; see logstore.Task.Changed
}

// Excerpt is what explains how a task ended, or how it stands.
type Excerpt struct {
	Task  logstore.Task  `json:"task"`
	Lines []tasklog.Line `json:"lines"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Excerpt) UnmarshalJSON(data []byte) (err error) {
	var is struct {
		Task  logstore.Task   `json:"task"`
		Lines json.RawMessage `json:"lines"`
	}
	if err = json.Unmarshal(data, &is); err == nil {
		e.Task = is.Task
		e.Lines, err = bound.List[tasklog.Line](is.Lines, maxLines)
	}
	return err
}

type excerptsAnswer struct {
	Excerpts []Excerpt `json:"excerpts"` // those that changed first
	More     bool      `json:"more,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *excerptsAnswer) UnmarshalJSON(data []byte) (err error) {
	var is struct {
		Excerpts json.RawMessage `json:"excerpts"`
		More     bool            `json:"more"`
	}
	if err = json.Unmarshal(data, &is); err == nil {
		a.More = is.More
		a.Excerpts, err = bound.List[Excerpt](is.Excerpts, recentExcerpts)
	}
	return err
}

var excerptsCall = agent.Call[excerptsRequest, excerptsAnswer]{
	Route:      agent.RouteLogsExcerpts,
	MaxRequest: 4 << 10,
	MaxAnswer:  8 * maxExcerpts,
	Timeout:    readTimeout,
	Invalid:    "not a time",
}

// Answer answers by what a node keeps.
func Answer(s *logstore.Store, log *slog.Logger) []agent.Handler {
	a := answering{s}
	return []agent.Handler{
		listCall.Handler(log, a.list), readCall.Handler(log, a.read), excerptsCall.Handler(log, a.excerpts),
	}
}

type answering struct{ store *logstore.Store }

func (a answering) list(_ context.Context, _ agent.Peer, w Which) (listAnswer, error) {
	return list(a.store, w), nil
}

func list(s *logstore.Store, w Which) listAnswer {
	tasks := s.Tasks(w.means)
	n := min(len(tasks), maxListed)
	return listAnswer{tasks[:n], n < len(tasks)}
}

func (a answering) read(ctx context.Context, _ agent.Peer, r readRequest) (page, error) {
	is, err := read(ctx, a.store, r)
	return page{is}, err
}

func read(ctx context.Context, s *logstore.Store, r readRequest) (is logstore.Page, err error) {
	filter, err := r.filter()
	if err != nil {
		return is, err
	}
	if r.Tail > 0 {
		if r.From, err = s.Tail(r.Task, r.Tail); err != nil {
			return is, err
		}
	}
	return s.Read(ctx, r.Task, r.From, filter, pageLen)
}

// excerpts answers with those of tasks that changed. A manager that asks after what a task changed by gets it once.
func (a answering) excerpts(ctx context.Context, _ agent.Peer, r excerptsRequest) (is excerptsAnswer, err error) {
	tasks := a.store.Tasks(func(t logstore.Task) bool { return t.Changed > r.After })
	slices.SortFunc(tasks, func(x, y logstore.Task) int { return int(min(1, max(-1, x.Changed-y.Changed))) })
	tasks = tasks[max(0, len(tasks)-recentExcerpts):]
	for size := 0; len(tasks) > 0; tasks = tasks[1:] {
		if is.More = size > maxExcerpts; is.More {
			break
		}
		lines, err := a.store.Excerpt(ctx, tasks[0].ID)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // it has gone meanwhile
		case err != nil:
			return is, err
		}
		for _, line := range lines {
			size += len(line.Text) + 64
		}
		is.Excerpts = append(is.Excerpts, Excerpt{tasks[0], lines})
	}
	return is, nil
}
