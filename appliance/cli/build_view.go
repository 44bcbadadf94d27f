package cli

import (
	"fmt"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/image"
)

const (
	liveSteps = 4  // that run and are painted
	liveLines = 3  // of what the step writes that wrote last
	keptLines = 20 // of a step, for the case that it fails
)

// buildView shows a build. In a pipe it is a line for each word, as of `docker build
// --progress=plain`. On a terminal the steps that run are painted with what they
// write, and one line stays of each that has ended; of one that failed also its
// output.
type buildView struct {
	out screen
	now func() time.Time

	mu    sync.Mutex
	steps []*liveStep // that run, in the order in which they began
	last  *liveStep   // that wrote last
	push  *image.PushProgress
	begun time.Time    // of the push
	said  map[int]bool // steps that a pipe knows
	over  map[int]bool // steps that have ended
	ended []string     // not yet printed
	drawn int          // lines that stand above the cursor and are painted over
	err   error        // of the first write that failed
}

type liveStep struct {
	image.Step
	begun time.Time
	lines []string
}

func newBuildView(out screen, now func() time.Time) *buildView {
	return &buildView{out: out, now: now, said: map[int]bool{}, over: map[int]bool{}}
}

// start repaints while nothing is heard. The function that it returns ends that,
// and takes away what was painted.
func (v *buildView) start() (end func()) {
	if v.out.width == 0 {
		return func() {}
	}
	stop := repeat(repaint, &v.mu, v.paint)
	return func() {
		stop()
		v.steps, v.push = nil, nil
		v.paint()
	}
}

// see takes an event up. It fails when the output does.
func (v *buildView) see(e api.BuildEvent) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case e.Line != "":
		v.ended = append(v.ended, "  "+e.Line)
	case e.Step != nil && v.again(*e.Step):
	case e.Step != nil && v.out.width == 0:
		v.plain(*e.Step)
	case e.Step != nil:
		v.step(*e.Step)
	case e.Push != nil:
		if v.push == nil {
			v.begun = v.now()
		}
		v.push = e.Push
	}
	v.paint()
	return v.err
}

// again says whether a step ends a second time with nothing done since: BuildKit looks
// first whether it knows the result, and then takes it.
func (v *buildView) again(s image.Step) bool {
	ended := s.State == image.StepCached || s.State == image.StepDone
	again := ended && v.over[s.N] && s.Took < repaint
	v.over[s.N] = v.over[s.N] || ended
	if again {
		v.drop(v.live(s.N))
	}
	return again
}

// plain adds what docker build says of a step where there is no terminal.
func (v *buildView) plain(s image.Step) {
	line := func(text string) { v.ended = append(v.ended, fmt.Sprintf("  #%d %s", s.N, text)) }
	if !v.said[s.N] {
		v.said[s.N] = true
		line(s.Name)
	}
	switch {
	case s.Line != "":
		line(s.Line)
	case s.State == image.StepDone:
		line("DONE " + took(s.Took))
	case s.State == image.StepCached:
		line("CACHED")
	case s.State == image.StepFailed:
		line("ERROR")
	case s.State == image.StepCanceled:
		line("CANCELED")
	}
}

func (v *buildView) step(s image.Step) {
	l := v.live(s.N)
	if s.State == image.StepRunning {
		if l == nil {
			l = &liveStep{begun: v.now()}
			v.steps = append(v.steps, l)
		}
		l.Step = s
		if s.Line != "" {
			l.lines = append(l.lines, s.Line)
			l.lines = l.lines[max(0, len(l.lines)-keptLines):]
			v.last = l
		}
		return
	}
	v.drop(l)
	switch s.State {
	case image.StepDone:
		v.stay(plain, s.Name, took(s.Took))
	case image.StepCached:
		v.stay(dim, s.Name, "cached")
	case image.StepFailed:
		v.stay(red, s.Name, "failed after "+took(s.Took))
		if l != nil {
			for _, line := range l.lines {
				v.stay(plain, "  "+line, "")
			}
		}
	}
}

func (v *buildView) live(n int) *liveStep {
	for _, l := range v.steps {
		if l.N == n {
			return l
		}
	}
	return nil
}

func (v *buildView) drop(gone *liveStep) {
	var rest []*liveStep
	for _, l := range v.steps {
		if l != gone {
			rest = append(rest, l)
		}
	}
	v.steps = rest
	if v.last == gone {
		v.last = nil
	}
}
