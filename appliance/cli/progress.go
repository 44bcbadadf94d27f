package cli

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
)

const (
	repaint  = 100 * time.Millisecond // on a terminal
	quiet    = time.Second            // between two lines of a service in a pipe
	barWidth = 20
)

// progress shows how far a change is: on a terminal one line a service that is
// painted again and again, in a pipe a line where something has changed.
type progress struct {
	out     screen
	now     func() time.Time
	done    func(api.Event) string
	begun   time.Time
	painted bool // on a terminal with room for all lines

	mu    sync.Mutex
	lines []*progressLine
	notes []string // not yet printed
	ended []string // what is over of a change that has parts, not yet printed
	drawn int      // lines that stand above the cursor and are painted over
	err   error    // of the first write that failed
}

// progressLine is the line of one service.
type progressLine struct {
	service string
	event   api.Event
	seen    bool
	note    string // the last one
	most    int    // containers that had to go
	ended   string
	printed string    // what a pipe got last
	at      time.Time // and when
}

func newProgress(out screen, now func() time.Time, ch change) *progress {
	p := &progress{out: out, now: now, done: ch.done, begun: now()}
	p.painted = out.width > 0 && (out.height == 0 || len(ch.services) < out.height)
	for _, name := range ch.services {
		p.lines = append(p.lines, &progressLine{service: name})
	}
	return p
}

// start repaints while nothing is heard. The function that it returns ends that
// and shows the last state.
func (p *progress) start() (end func()) {
	every := quiet
	if p.painted {
		every = repaint
	}
	return repeat(every, &p.mu, p.show)
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

// see takes an event up. It fails when the output does.
func (p *progress) see(e api.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.line(e.Service)
	if l == nil || e.Err != nil {
		return p.err // a word on the whole: the command ends with it
	}
	if was := l.event.Copied; was.Total > 0 && e.Copied.From == "" {
		p.ended = append(p.ended, fmt.Sprintf("%s: %s after %s", l.service, copied(was), took(p.now().Sub(p.begun))))
	}
	if l.event.Staged.Nodes > 0 && e.Staged.Nodes == 0 {
		p.ended = append(p.ended, fmt.Sprintf("%s: %s after %s", l.service, staged(l.event.Staged), took(p.now().Sub(p.begun))))
	}
	l.seen, l.event, l.most = true, e, max(l.most, e.Stopping)
	if e.Note != "" && e.Note != l.note {
		l.note = e.Note
		p.notes = append(p.notes, l.service+": "+oneLine(e.Note))
	}
	if e.Done != nil {
		l.ended = p.done(e)
	}
	p.show()
	return p.err
}

func (p *progress) line(service string) *progressLine {
	for _, l := range p.lines {
		if l.service == service || len(p.lines) == 1 && service != "" {
			return l // the one service may have been named by its ID
		}
	}
	return nil
}

func (p *progress) show() {
	if p.painted {
		p.paint()
		return
	}
	for _, n := range append(p.ended, p.notes...) {
		p.write(n + "\n")
	}
	p.ended, p.notes = nil, nil
	for _, l := range p.lines {
		p.print(l)
	}
}

// print adds a line for what has changed, not more than one a second.
func (p *progress) print(l *progressLine) {
	text, now := l.text(), p.now()
	if !l.seen || text == l.printed || l.ended == "" && now.Sub(l.at) < quiet {
		return
	}
	l.printed, l.at = text, now
	p.write(l.service + ": " + text + "\n")
}

// paint draws all lines over those drawn last, with new notes above them.
func (p *progress) paint() {
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", p.drawn)
	}
	for _, n := range p.ended {
		b.WriteString(p.out.fit(n) + "\n")
	}
	for _, n := range p.notes {
		b.WriteString(p.out.styled(red, p.out.fit("! "+n)) + "\n")
	}
	p.ended, p.notes, p.drawn = nil, nil, 0
	for _, l := range p.lines {
		if l.seen {
			b.WriteString(p.drawing(l) + "\n")
			p.drawn++
		}
	}
	p.write(b.String())
}

func (p *progress) drawing(l *progressLine) string {
	text := l.service + ": "
	if l.ended == "" {
		text += bar(l.part()) + " "
	}
	text += l.text()
	if l.ended == "" {
		text += "  " + took(p.now().Sub(p.begun))
	}
	return p.out.fit(text)
}

func (p *progress) write(s string) {
	if _, err := p.out.w.Write([]byte(s)); err != nil && p.err == nil {
		p.err = err
	}
}

func (l *progressLine) text() string {
	e := l.event
	switch {
	case l.ended != "":
		return l.ended
	case e.Copied.From != "":
		return copied(e.Copied)
	case e.Staged.Nodes > 0:
		return staged(e.Staged)
	case e.Desired == 0:
		return count(e.Stopping, "container") + " to go"
	}
	text := fmt.Sprintf("%d/%d running", e.Running-e.Complete, e.Desired)
	if e.Complete > 0 {
		text += fmt.Sprintf(", %d complete", e.Complete)
	}
	if e.Stopping > 0 {
		text += fmt.Sprintf(", %d to stop", e.Stopping)
	}
	return text
}

// copied is "12MB of 45MB copied from docker.io".
func copied(c api.Copied) string {
	switch c.Total {
	case 0:
		return "image of " + c.From
	case c.Bytes:
		return size(c.Total) + " copied from " + c.From
	}
	return fmt.Sprintf("%s of %s copied from %s", size(c.Bytes), size(c.Total), c.From)
}

// staged is "47/50 nodes have it, waiting for h7, h9".
func staged(s api.Staged) string {
	text := fmt.Sprintf("%d/%d nodes have it", s.Have, s.Nodes)
	if s.Late != "" && s.Have < s.Nodes {
		text += ", waiting for " + s.Late
	}
	return text
}

// part is how much of the change is true, from 0 to 1.
func (l *progressLine) part() float64 {
	e := l.event
	switch {
	case e.Copied.From != "":
		return float64(e.Copied.Bytes) / float64(max(1, e.Copied.Total))
	case e.Staged.Nodes > 0:
		return float64(e.Staged.Have) / float64(e.Staged.Nodes)
	case e.Desired > 0:
		return min(1, float64(e.Running)/float64(e.Desired))
	case l.most > 0:
		return 1 - float64(e.Stopping)/float64(l.most)
	}
	return 1
}

func bar(part float64) string {
	full := int(part * barWidth)
	head := ">"
	if full == barWidth {
		head = ""
	}
	return "[" + strings.Repeat("=", full) + head + strings.Repeat(" ", barWidth-full-len(head)) + "]"
}
