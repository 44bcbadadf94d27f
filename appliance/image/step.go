package image

import (
	"regexp"
	"strings"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// StepState is how far a step of a build is.
type StepState string

// The states of a step.
const (
	StepRunning  StepState = "running"
	StepDone     StepState = "done"
	StepCached   StepState = "cached"   // as it was in an earlier build
	StepFailed   StepState = "failed"   // and the build with it
	StepCanceled StepState = "canceled" // because another failed
)

// Step is one step of a build by BuildKit, each time that there is news of it.
// Several can run at once.
type Step struct {
	N       int           `json:"n"`    // from 1, in the order in which they began
	Name    string        `json:"name"` // such as [2/3] RUN pip install redis
	State   StepState     `json:"state"`
	Took    time.Duration `json:"took_ns,omitempty"` // in the end
	Line    string        `json:"line,omitempty"`    // that it wrote
	Current int64         `json:"current,omitempty"` // bytes of a download
	Total   int64         `json:"total,omitempty"`
}

// tracker follows the steps of one build. It is for one goroutine.
type tracker struct {
	see    func(Progress)
	steps  map[string]*tracked // by digest
	shown  int
	failed *tracked // the first
}

// tracked is a step with what is kept of it.
type tracked struct {
	Step
	loads  map[string][2]int64 // current and total of each layer
	out    lineWriter
	err    string
	output []string // the last lines
}

func newTracker(see func(Progress)) *tracker {
	return &tracker{see: see, steps: map[string]*tracked{}}
}

// housework matches steps that the user has not written: they bring the context in.
// They are shown if they fail.
var housework = regexp.MustCompile(
	`^(\[internal\] load (remote build context|build context|build definition|\.dockerignore)|copy /context /|docker-image://docker/dockerfile)`)

func (t *tracker) take(news *controlapi.StatusResponse) {
	for _, v := range news.Vertexes {
		t.vertex(v)
	}
	for _, s := range news.Statuses {
		t.load(s)
	}
	for _, l := range news.Logs {
		if s := t.steps[l.Vertex]; s != nil {
			s.out.write(string(l.Msg))
		}
	}
}

func (t *tracker) vertex(v *controlapi.Vertex) {
	s := t.steps[v.Digest]
	if s == nil {
		if v.Started == nil && v.Error == "" {
			return // only planned
		}
		s = &tracked{Step: Step{Name: words.OneLine(v.Name)}, loads: map[string][2]int64{}}
		s.out.see = func(line string) {
			s.output = lastLines(append(s.output, line))
			said := s.Step
			said.Line = line
			t.show(s, said)
		}
		t.steps[v.Digest] = s
	}
	state, before := stateOf(v), s.State
	if state == before {
		return
	}
	if v.Completed != nil {
		s.out.flush()
	}
	s.State, s.err, s.Took = state, v.Error, 0
	if v.Completed != nil {
		s.Took = max(0, v.Completed.AsTime().Sub(v.Started.AsTime()))
	}
	if state == StepFailed && t.failed == nil {
		t.failed = s
	}
	t.show(s, s.Step)
}

// show reports a step, and numbers it the first time.
func (t *tracker) show(s *tracked, now Step) {
	if s.N == 0 {
		if s.State != StepFailed && housework.MatchString(s.Name) {
			return
		}
		t.shown++
		s.N, now.N = t.shown, t.shown
	}
	t.see(Progress{Step: &now})
}

func stateOf(v *controlapi.Vertex) StepState {
	switch {
	case strings.HasSuffix(v.Error, "context canceled"):
		return StepCanceled
	case v.Error != "":
		return StepFailed
	case v.Cached:
		return StepCached
	case v.Completed != nil:
		return StepDone
	}
	return StepRunning
}

// load adds up the downloads of a step.
func (t *tracker) load(news *controlapi.VertexStatus) {
	s := t.steps[news.Vertex]
	if s == nil || news.Total == 0 || s.State != StepRunning {
		return
	}
	s.loads[news.ID] = [2]int64{news.Current, news.Total}
	now := s.Step
	for _, l := range s.loads {
		now.Current += l[0]
		now.Total += l[1]
	}
	t.show(s, now)
}
