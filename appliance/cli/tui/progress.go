package tui

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

const (
	repaint  = 100 * time.Millisecond // on a terminal
	quiet    = time.Second            // between two lines of a service in a pipe
	barWidth = 20
)

// Progress shows how far a change is: on a terminal one line a service that is
// painted again and again, in a pipe a line where something has changed.
type Progress struct {
	canvas
	done    func(deploy.Progress) string
	begun   time.Time
	painted bool // on a terminal with room for all lines

	mu    sync.Mutex
	lines []*progressLine
	notes []string // not yet printed
	ended []string // what is over of a change that has parts, not yet printed
}

type progressLine struct {
	service string
	event   deploy.Progress
	seen    bool
	note    string // the last one
	most    int    // containers that had to go
	ended   string
	failed  bool
	printed string    // what a pipe got last
	at      time.Time // and when
}

// NewProgress returns the progress of a change of services. done is the last line of one.
func NewProgress(out Screen, services []string, done func(deploy.Progress) string) *Progress {
	p := &Progress{canvas: canvas{out: out}, done: done, begun: out.Now()}
	p.painted = out.Width > 0 && (out.height == 0 || len(services) < out.height)
	for _, name := range services {
		p.lines = append(p.lines, &progressLine{service: name})
	}
	return p
}

// Start repaints while nothing is heard. The function that it returns ends that
// and shows the last state.
func (p *Progress) Start() (end func()) {
	every := quiet
	if p.painted {
		every = repaint
	}
	return repeat(every, &p.mu, p.show)
}

// canvas is where lines are painted over those that were painted last.
type canvas struct {
	out   Screen
	drawn int   // lines that stand above the cursor and are painted over
	err   error // of the first write that failed
}

// draw writes lines that stay, and others below them that are painted over next time.
func (c *canvas) draw(stay, drawing []string) {
	var b strings.Builder
	above := c.drawn
	for _, line := range slices.Concat(stay, drawing) {
		b.WriteString(line + "\n")
	}
	c.drawn = len(drawing)
	if above > 0 || b.Len() > 0 {
		c.repaint(above, b.String())
	}
}

func (c *canvas) write(s string) { c.repaint(0, s) }

func (c *canvas) repaint(above int, text string) {
	if err := c.out.repaint(above, text); c.err == nil {
		c.err = err
	}
}

// repeat calls show once in a time, with the lock held, until the function
// that it returns is called.
func repeat(every time.Duration, mu *sync.Mutex, show func()) (end func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				mu.Lock()
				show()
				mu.Unlock()
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// See takes an event up. It fails when the output does.
func (p *Progress) See(e deploy.Progress) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.line(e.Service)
	if l == nil {
		return p.err // a word on the whole: the command ends with it
	}
	if was := l.event.Copied; was.Total > 0 && e.Copied.From == "" {
		p.ended = append(p.ended, fmt.Sprintf("%s: %s after %s", l.service, copied(was),
			Took(p.out.Now().Sub(p.begun))))
	}
	if l.event.Pulled.Nodes > 0 && e.Pulled.Nodes == 0 {
		p.ended = append(p.ended, fmt.Sprintf("%s: %s after %s", l.service, pulled(l.event.Pulled),
			Took(p.out.Now().Sub(p.begun))))
	}
	l.seen, l.event, l.most = true, e, max(l.most, toGo(e))
	if e.Note != "" && e.Note != l.note {
		l.note = e.Note
		p.notes = append(p.notes, l.service+": "+words.OneLine(e.Note))
	}
	if e.Done != nil {
		l.ended = p.done(e)
	}
	p.show()
	return p.err
}

// Fail takes away what was painted of services that did not come to their last line: how far
// they were says nothing of how they are, and the error that follows does.
func (p *Progress) Fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		l.failed = l.ended == ""
	}
	if p.painted {
		p.paint()
	}
}

func (p *Progress) line(service string) *progressLine {
	for _, l := range p.lines {
		if l.service == service || len(p.lines) == 1 && service != "" {
			return l // the one service may have been named by its ID
		}
	}
	return nil
}

func (p *Progress) show() {
	if p.painted {
		p.paint()
		return
	}
	for _, n := range append(p.ended, p.notes...) {
		p.write(strings.Join(p.out.Sentence(n), "\n") + "\n")
	}
	p.ended, p.notes = nil, nil
	for _, l := range p.lines {
		p.print(l)
	}
}

// print adds a line for what has changed, not more than one a second.
func (p *Progress) print(l *progressLine) {
	text, now := l.text(), p.out.Now()
	wait := l.ended == "" && (now.Sub(l.at) < quiet || l.isOver())
	if !l.seen || text == l.printed || wait {
		return
	}
	l.printed, l.at = text, now
	p.write(strings.Join(p.out.Sentence(l.service+": "+text), "\n") + "\n")
}

// paint draws all lines over those drawn last, with new notes above them.
func (p *Progress) paint() {
	var stay []string
	for _, n := range p.ended {
		stay = append(stay, p.out.Sentence(n)...)
	}
	for _, n := range p.notes {
		for _, line := range p.out.Sentence("! " + n) {
			stay = append(stay, p.out.Styled(Red, line))
		}
	}
	p.ended, p.notes = nil, nil
	p.draw(stay, p.drawing())
}

// drawing returns the lines of all services, in full where the screen has room for that: what is
// painted over has to be on it.
func (p *Progress) drawing() []string {
	var whole, cut []string
	for _, l := range p.lines {
		if !l.seen || l.failed {
			continue
		}
		words := p.wordsOf(l)
		cut = append(cut, p.out.Fit(strings.Join(words, " ")))
		whole = append(whole, p.out.fill(chop(words, p.out.Width-len(indent)), indent)...)
	}
	if p.out.height > 0 && len(whole) >= p.out.height {
		return cut
	}
	return whole
}

// wordsOf returns the words of the line of a service, a bar being one.
func (p *Progress) wordsOf(l *progressLine) []string {
	words := spans(visible(l.text()), p.out.Width-len(indent))
	if l.ended != "" {
		return append([]string{l.service + ":"}, words...)
	}
	words = append([]string{l.service + ":", bar(l.part())}, words...)
	return append(words, " "+Took(p.out.Now().Sub(p.begun)))
}

func (l *progressLine) text() string {
	e := l.event
	switch {
	case l.ended != "":
		return l.ended
	case e.Copied.From != "":
		return copied(e.Copied)
	case e.Pulled.Nodes > 0:
		return pulled(e.Pulled)
	case e.Desired == 0:
		return words.Count(toGo(e), "container") + " to go"
	}
	what := "running"
	switch {
	case e.Stage == history.StageRollBack:
		what = "running as before"
	case e.Old > 0:
		what = "new"
	}
	text := fmt.Sprintf("%d/%d %s", e.Running-e.Complete, e.Desired, what)
	if e.Complete > 0 {
		text += fmt.Sprintf(", %d complete", e.Complete)
	}
	if e.Old > 0 {
		text += fmt.Sprintf(", %d old running", e.Old)
	}
	if e.Stopping > 0 {
		text += fmt.Sprintf(", %d to stop", e.Stopping)
	}
	return text
}

// copied returns "12MB of 45MB copied from docker.io".
func copied(c deploy.Copied) string {
	switch c.Total {
	case 0:
		return "image of " + c.From
	case c.Bytes:
		return Size(c.Total) + " copied from " + c.From
	}
	return fmt.Sprintf("%s of %s copied from %s", Size(c.Bytes), Size(c.Total), c.From)
}

// toGo returns how many containers still have to go of a service that ends.
func toGo(e deploy.Progress) int {
	if e.Desired > 0 {
		return 0
	}
	return e.Running - e.Complete + e.Stopping
}

// isOver reports whether a part of the change is over, of which the next line says more.
func (l *progressLine) isOver() bool {
	e := l.event
	switch {
	case e.Copied.From != "":
		return e.Copied.Total > 0 && e.Copied.Bytes == e.Copied.Total
	case e.Pulled.Nodes > 0:
		return e.Pulled.Have == e.Pulled.Nodes
	}
	return e.Desired == 0 && toGo(e) == 0
}

// pulled returns "47/50 nodes have it, 2.1GB of 2.3GB, waiting for h7, h9".
func pulled(s deploy.Pulled) string {
	text := fmt.Sprintf("%d/%d nodes have it", s.Have, s.Nodes)
	if s.Total > 0 && s.Have < s.Nodes {
		text += fmt.Sprintf(", %s of %s", Size(s.Bytes), Size(s.Total))
	}
	if s.Late != "" && s.Have < s.Nodes {
		text += ", waiting for " + s.Late
	}
	return text
}

// part returns how much of the change is done, from 0 to 1.
func (l *progressLine) part() float64 {
	e := l.event
	switch {
	case e.Copied.From != "":
		return float64(e.Copied.Bytes) / float64(max(1, e.Copied.Total))
	case e.Pulled.Nodes > 0 && e.Pulled.Total > 0 && e.Pulled.Have < e.Pulled.Nodes:
		return unfinished(e.Pulled.Bytes, e.Pulled.Total)
	case e.Pulled.Nodes > 0:
		return float64(e.Pulled.Have) / float64(e.Pulled.Nodes)
	case e.Desired > 0:
		return min(1, float64(e.Running)/float64(e.Desired))
	}
	return 1 - float64(toGo(e))/float64(max(1, l.most))
}

// unfinished returns how much of some bytes has come, and less than 1: there is more to do
// than to move them.
func unfinished(bytes, total int64) float64 { return min(0.99, float64(bytes)/float64(total)) }

func bar(part float64) string {
	full := int(part * barWidth)
	head := ">"
	if full == barWidth {
		head = ""
	}
	return "[" + strings.Repeat("=", full) + head + strings.Repeat(" ", barWidth-full-len(head)) + "]"
}

// manyStarts is how many tasks have to start for a percentile to say something.
const manyStarts = 10

// Summary returns "50 running in 12.3s (p50 4.1s, p95 9.0s, slowest node h7 11.2s)",
// "3 complete in 2.0s" of spiders whose queue is empty, or "stopped, 50 containers gone in 3.2s".
func Summary(e deploy.Progress) string {
	s := e.Done
	switch {
	case e.Desired == 0 && e.Stage == history.StageWatch:
		return fmt.Sprintf("stopped; `crawlbox start %s` runs it", e.Service)
	case e.Desired == 0:
		return fmt.Sprintf("stopped, %s gone in %s", words.Count(s.Stopped, "container"), Took(s.Took))
	}
	text := fmt.Sprintf("%s in %s", TaskCounts(e), Took(s.Took))
	if excuse := s.Excuse(); excuse != "" {
		text += "; " + excuse
	}
	if s.Started < manyStarts {
		return text
	}
	text += fmt.Sprintf(" (p50 %s, p95 %s", Took(s.P50), Took(s.P95))
	if s.Slowest != "" {
		text += fmt.Sprintf(", slowest node %s %s", s.Slowest, Took(s.SlowestTook))
	}
	return text + ")"
}

// TaskCounts returns "3 running", "3 complete", or "1 running, 2 complete".
func TaskCounts(e deploy.Progress) string {
	complete := fmt.Sprintf("%d complete", e.Complete)
	switch e.Complete {
	case 0:
		return fmt.Sprintf("%d running", e.Running)
	case e.Running:
		return complete
	}
	return fmt.Sprintf("%d running, %s", e.Running-e.Complete, complete)
}
