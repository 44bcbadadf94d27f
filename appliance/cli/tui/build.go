package tui

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/image"
)

const (
	liveSteps = 4  // that run and are painted
	liveLines = 3  // of what the step writes that wrote last
	keptLines = 20 // of a step, for the case that it fails
)

// BuildView shows a build. In a pipe it is a line for each word, as of `docker build
// --progress=plain`. On a terminal the steps that run are painted with what they
// write, and one line stays of each that has ended; of one that failed also its
// output.
type BuildView struct {
	canvas

	mu    sync.Mutex
	steps []*liveStep // that run, in the order in which they began
	last  *liveStep   // that wrote last
	push  *image.PushProgress
	begun time.Time    // of the push
	said  map[int]bool // steps that a pipe knows
	over  map[int]bool // steps that have ended
	ended []string     // not yet printed
}

type liveStep struct {
	image.Step
	begun time.Time
	lines []string
}

func NewBuildView(out Screen) *BuildView {
	return &BuildView{canvas: canvas{out: out}, said: map[int]bool{}, over: map[int]bool{}}
}

// Start repaints while nothing is heard. The function that it returns ends that,
// and takes away what was painted.
func (v *BuildView) Start() (end func()) {
	if v.out.Width == 0 {
		return func() {}
	}
	stop := repeat(repaint, &v.mu, v.paint)
	return func() {
		stop()
		v.steps, v.push = nil, nil
		v.paint()
	}
}

// See takes an event up. It fails when the output does.
func (v *BuildView) See(e api.BuildEvent) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case e.Line != "":
		v.ended = append(v.ended, "  "+e.Line)
	case e.Step != nil && v.again(*e.Step):
	case e.Step != nil && v.out.Width == 0:
		v.plain(*e.Step)
	case e.Step != nil:
		v.step(*e.Step)
	case e.Push != nil:
		if v.push == nil {
			v.begun = v.out.Now()
		}
		v.push = e.Push
	}
	v.paint()
	return v.err
}

// again reports whether a step ends a second time with nothing done since: BuildKit looks
// first whether it knows the result, and then takes it.
func (v *BuildView) again(s image.Step) bool {
	ended := s.State == image.StepCached || s.State == image.StepDone
	again := ended && v.over[s.N] && s.Took < repaint
	v.over[s.N] = v.over[s.N] || ended
	if again {
		v.drop(v.live(s.N))
	}
	return again
}

// plain adds what docker build says of a step where there is no terminal.
func (v *BuildView) plain(s image.Step) {
	line := func(text string) { v.ended = append(v.ended, fmt.Sprintf("  #%d %s", s.N, text)) }
	if !v.said[s.N] {
		v.said[s.N] = true
		line(s.Name)
	}
	switch {
	case s.Line != "":
		line(s.Line)
	case s.State == image.StepDone:
		line("DONE " + Took(s.Took))
	case s.State == image.StepCached:
		line("CACHED")
	case s.State == image.StepFailed:
		line("ERROR")
	case s.State == image.StepCanceled:
		line("CANCELED")
	}
}

func (v *BuildView) step(s image.Step) {
	l := v.live(s.N)
	if s.State == image.StepRunning {
		if l == nil {
			l = &liveStep{begun: v.out.Now()}
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
		v.stay(plain, s.Name, Took(s.Took))
	case image.StepCached:
		v.stay(Dim, s.Name, "cached")
	case image.StepFailed:
		v.stay(Red, s.Name, "failed after "+Took(s.Took))
		if l != nil {
			for _, line := range l.lines { // in full: why it failed is in it
				v.ended = append(v.ended, "    "+visible(line))
			}
		}
	}
}

func (v *BuildView) live(n int) *liveStep {
	for _, l := range v.steps {
		if l.N == n {
			return l
		}
	}
	return nil
}

func (v *BuildView) drop(gone *liveStep) {
	v.steps = slices.DeleteFunc(v.steps, func(l *liveStep) bool { return l == gone })
	if v.last == gone {
		v.last = nil
	}
}

func (v *BuildView) stay(style, text, how string) {
	v.ended = append(v.ended, v.line(style, text, how))
}

// line is a line of what a step is and how it is, which is seen also if the whole
// does not fit.
func (v *BuildView) line(style, text, how string) string {
	text = visible(text)
	if how != "" {
		text = cut(text, max(0, v.out.Width-4-columns(how)), false) + "  " + how
	}
	return v.out.Styled(style, v.out.Fit("  "+text))
}

// paint draws what runs over what was drawn last, with what has ended above it.
func (v *BuildView) paint() {
	var drawing []string
	if v.out.Width > 0 {
		drawing = v.drawing()
	}
	v.draw(v.ended, drawing)
	v.ended = nil
}

func (v *BuildView) drawing() (lines []string) {
	add := func(style, text, how string) { lines = append(lines, v.line(style, text, how)) }
	shown := v.steps[:min(liveSteps, len(v.steps))]
	for _, l := range shown {
		how := Took(v.out.Now().Sub(l.begun))
		if l.Total > 0 {
			how = Size(l.Current) + " of " + Size(l.Total) + "  " + how
		}
		add(Bold, l.Name, how)
		if l == v.last {
			for _, line := range l.lines[max(0, len(l.lines)-liveLines):] {
				add(Dim, "  "+line, "")
			}
		}
	}
	if more := len(v.steps) - len(shown); more > 0 {
		add(Dim, "and "+words.Count(more, "step")+" more", "")
	}
	if p := v.push; p != nil {
		part := float64(p.Done) / float64(max(1, p.Layers))
		if p.Total > 0 && p.Done < p.Layers {
			part = unfinished(p.Bytes, p.Total)
		}
		text := fmt.Sprintf("push %s %d/%d layers", bar(part), p.Done, p.Layers)
		if p.Total > 0 {
			text += ", " + Size(p.Bytes) + " of " + Size(p.Total)
		}
		add(plain, text, Took(v.out.Now().Sub(v.begun)))
	}
	return lines
}
