package control

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/agent/logs"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/logstore"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

// Logs answers api.Logs as far as a node is a manager of the swarm.
type Logs struct {
	engine *swarm.Engine
	kept   Kept
	errs   Errors
}

// Kept are the logs that nodes keep of tasks.
type Kept interface {
	// Read shows what is kept, and returns of how many tasks that is.
	Read(ctx context.Context, v logs.View) (tasks int, err error)
}

// NewLogs returns the logs of the tasks that engine knows, and those that are kept.
func NewLogs(engine *swarm.Engine, kept Kept, errs Errors) *Logs { return &Logs{engine, kept, errs} }

// Logs implements api.Logs.
func (l *Logs) Logs(ctx context.Context, q api.LogQuery, fn func(api.LogLine) error) error {
	match, err := regexp.Compile(q.Grep)
	if err != nil {
		why := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		return api.Invalid("the expression %q cannot be read: %s", q.Grep, why)
	}
	s, err := l.engine.Snapshot(ctx)
	if err != nil {
		return l.errs.explain(err)
	}
	c, err := chooseLogs(s, q)
	if older := q.Run || q.Grep != "" || !q.Since.IsZero(); !q.Follow && (older || err != nil) {
		if tasks, err := readKept(ctx, l.kept, s, q, fn); err != nil || tasks > 0 {
			return l.errs.explain(err)
		}
	}
	switch {
	case err != nil && q.Run:
		return api.NotFound("no node keeps a log of a run %q; `crawlbox runs` lists runs", q.Target)
	case err != nil:
		return err
	}
	c.match, c.fn = match, fn
	view := tasklog.View{
		Tasks:  func(ctx context.Context) ([]tasklog.Task, error) { return l.tasks(ctx, c) },
		Follow: q.Follow,
		Tail:   q.Tail,
		Since:  q.Since,
		Show:   c.show,
		Note:   c.note,
	}
	if text := c.nothingYet(s); text != "" {
		if err := c.note(text); err != nil {
			return err
		}
	}
	err = view.Run(ctx, l.engine)
	switch {
	case c.gone != nil:
		return c.gone
	case errors.Is(err, context.Canceled):
		return nil
	}
	return l.errs.explain(err)
}

func (l *Logs) tasks(ctx context.Context, c *logChoice) ([]tasklog.Task, error) {
	s, err := l.engine.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	tasks := c.tasks(s)
	c.nameVersions(tasks)
	return tasks, nil
}

// logChoice says whose logs are shown, and shows them.
type logChoice struct {
	service string // ID
	task    string // ID; empty: all of the service
	slot    string // name of a task; empty: all of the service
	node    string // ID; empty: all
	all     bool
	match   *regexp.Regexp // of the lines; nil: all

	// Of logs that are followed: since when, and the tasks that were listed last, by ID. These
	// stay: their last words may be still to come.
	began  time.Time
	listed map[string]bool

	fn   func(api.LogLine) error
	gone error // of fn

	mu       sync.Mutex
	versions map[string]string // how those of the tasks are called, by their images
}

// chooseLogs finds out whose logs a user means.
func chooseLogs(s fleet.Snapshot, q api.LogQuery) (*logChoice, error) {
	c := &logChoice{all: q.All || q.Run}
	if q.Follow {
		c.began = s.Taken
	}
	if q.Node != "" {
		n, err := findNode(s.Nodes, q.Node)
		if err != nil {
			return nil, err
		}
		c.node = n.ID
	}
	svc, err := findService(s.Services, q.Target)
	if err == nil {
		c.service = svc.ID
		return c, nil
	}
	t, ok := findTask(s.Tasks, q.Target)
	if !ok {
		return nil, unknownTask(s, q.Target, err)
	}
	c.service = t.ServiceID
	if t.ID == q.Target {
		c.task = t.ID
	} else {
		c.slot = t.Name()
	}
	return c, nil
}

// tasks returns those whose logs are shown: of each slot what `crawlbox ps` shows, but none
// that has ended and is of another version than the service, or all of them.
func (c *logChoice) tasks(s fleet.Snapshot) (list []tasklog.Task) {
	shown := map[string]bool{}
	for _, t := range chooseTasks(s.Tasks, c.service, c.node, c.all || c.task != "") {
		shown[t.ID] = c.all || c.task != "" || !t.Ended() || isCurrent(s, t)
	}
	for _, t := range s.Tasks {
		isNew := !c.began.IsZero() && !t.Created.Before(c.began)
		if c.means(t) && (shown[t.ID] || isNew || c.listed[t.ID]) {
			list = append(list, tasklog.Task{Task: t, Away: away(s, t)})
		}
	}
	if !c.began.IsZero() {
		c.listed = map[string]bool{}
		for _, t := range list {
			c.listed[t.ID] = true
		}
	}
	return list
}

// away says what the node of a task is instead of ready.
func away(s fleet.Snapshot, t fleet.Task) string {
	for _, n := range s.Nodes {
		switch {
		case n.ID != t.NodeID:
		case n.State == fleet.StateReady:
			return ""
		default:
			return n.State
		}
	}
	return "gone"
}

// means reports whether a task is one of those that the user named.
func (c *logChoice) means(t fleet.Task) bool {
	return t.ServiceID == c.service && (c.node == "" || c.node == t.NodeID) && (c.task == "" || c.task == t.ID) &&
		(c.slot == "" || c.slot == t.Name())
}

// isCurrent reports whether a task has the image that its service has now.
func isCurrent(s fleet.Snapshot, t fleet.Task) bool {
	svc, ok := s.Service(t.ServiceID)
	return !ok || svc.Image == t.Image && svc.Digest == t.Digest
}

// nothingYet says so where those that are shown have written nothing, and others have.
func (c *logChoice) nothingYet(s fleet.Snapshot) string {
	wrote := func(t tasklog.Task) bool { return t.Container != "" }
	if c.all || slices.ContainsFunc(c.tasks(s), wrote) {
		return ""
	}
	every := logChoice{service: c.service, slot: c.slot, node: c.node, all: true}
	if !slices.ContainsFunc(every.tasks(s), wrote) {
		return ""
	}
	return "no task of the current version has started yet; --all shows what those before wrote"
}

// nameVersions decides how the versions of tasks are called: by the tag of the image, and by a
// part of its digest where it has none or another has it too.
func (c *logChoice) nameVersions(tasks []tasklog.Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := map[string]string{}
	for _, t := range tasks {
		image := t.Image + "@" + t.Digest
		if name, known := c.versions[image]; known {
			names[image] = name
		}
	}
	for _, t := range tasks {
		image := t.Image + "@" + t.Digest
		if _, known := names[image]; known {
			continue
		}
		name := tagOf(t.Image)
		d, err := digest.Parse(t.Digest)
		if err == nil && (name == "" || slices.Contains(slices.Collect(maps.Values(names)), name)) {
			name = strings.TrimPrefix(name+"@"+d.Encoded()[:8], "@")
		}
		names[image] = name
	}
	c.versions = names
}

// tagOf returns the tag of an image, or nothing.
func tagOf(image string) string {
	image = image[strings.LastIndexByte(image, '/')+1:]
	_, tag, _ := strings.Cut(image, ":")
	return tag
}

func (c *logChoice) show(t tasklog.Task, line tasklog.Line) error {
	if c.match != nil && !c.match.MatchString(line.Text) {
		return nil
	}
	c.mu.Lock()
	version, mixed := c.versions[t.Image+"@"+t.Digest], len(c.versions) > 1
	c.mu.Unlock()
	return c.send(api.LogLine{
		Time:    line.Time,
		Task:    t.Name(),
		TaskID:  t.ID,
		Node:    t.Node,
		Version: cmp.Or(version, tagOf(t.Image)), // it may be gone by now
		Mixed:   mixed,
		Stream:  line.Stream,
		Text:    line.Text,
		Cut:     line.Cut,
	})
}

func (c *logChoice) note(text string) error { return c.send(api.LogLine{Text: text}) }

func (c *logChoice) send(line api.LogLine) error {
	if c.gone == nil {
		c.gone = c.fn(line)
	}
	return c.gone
}

// readKept shows what nodes keep of tasks that a user means, also of those that Swarm has forgotten, and returns how
// many these are. Where there are none, nothing is said of nodes that were not asked.
func readKept(ctx context.Context, kept Kept, s fleet.Snapshot, q api.LogQuery, fn func(api.LogLine) error) (
	tasks int, err error) {
	v := logs.View{
		Which: logs.Which{Names: []string{q.Target}, Since: q.Since},
		Grep:  q.Grep,
		Tail:  q.Tail,
	}
	if svc, err := findService(s.Services, q.Target); err == nil {
		v.Names = []string{svc.Name}
	}
	if q.Node != "" {
		n, err := findNode(s.Nodes, q.Node)
		if err != nil {
			return 0, err
		}
		v.Node = n.ID
	}
	var notes []string
	say := func() error {
		for _, text := range notes {
			if err := fn(api.LogLine{Text: text}); err != nil {
				return err
			}
		}
		notes = nil
		return nil
	}
	v.Note = func(text string) error {
		notes = append(notes, text)
		return nil
	}
	v.Show = func(t logstore.Task, line tasklog.Line) error {
		if err := say(); err != nil {
			return err
		}
		return fn(keptLine(t, line))
	}
	if tasks, err = kept.Read(ctx, v); tasks > 0 && err == nil {
		err = say()
	}
	return tasks, err
}

// keptLine returns a line as it is shown. What crawlbox says of a log is no line of its task.
func keptLine(t logstore.Task, line tasklog.Line) api.LogLine {
	if line.Stream == logstore.Word {
		return api.LogLine{Time: line.Time, Text: t.Name + "@" + t.Node + ": " + line.Text}
	}
	return api.LogLine{
		Time:   line.Time,
		Task:   t.Name,
		TaskID: t.ID,
		Node:   t.Node,
		Stream: line.Stream,
		Text:   line.Text,
		Cut:    line.Cut,
	}
}

// maxQuoted bounds a line that is quoted in a sentence, in bytes.
const maxQuoted = 500

// lastWords returns the last lines of a task, as they are quoted.
func lastWords(ctx context.Context, e *swarm.Engine, task string, n int) (list []string, err error) {
	last, err := tasklog.Last(ctx, e, task, n)
	for _, line := range last {
		text := line.Text
		if len(text) > maxQuoted {
			text = strings.ToValidUTF8(text[:maxQuoted], "") + "…"
		}
		list = append(list, text)
	}
	return list, err
}
