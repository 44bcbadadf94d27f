package tasklog

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// taskLog reads the log of one task, also in several goes: each begins where the one before
// came to an end.
type taskLog struct {
	engine Engine
	task   string // ID
	follow bool   // more will come, also of a line that has begun
	joiner joiner

	messages int       // that were read
	latest   time.Time // of a message
	same     int       // messages that have that time

	// begins is called before a message is read that was not before: with its time, and how many of those that were
	// have not come again; nil: nobody wants to know.
	begins func(at time.Time, before int)
}

func newTaskLog(e Engine, task string, follow bool) *taskLog {
	return &taskLog{
		engine: e,
		task:   task,
		follow: follow,
		joiner: joiner{},
	}
}

// read calls emit with the lines that are there.
func (l *taskLog) read(ctx context.Context, o swarm.LogOptions, emit func(Line) error) error {
	var err error
	for idle := 0; idle < maxIdle; idle++ {
		had := l.messages
		if err = l.pass(ctx, o, emit); !errors.Is(err, errSilent) {
			break
		}
		if l.messages > had {
			idle, o.Tail = -1, -1 // what is missing is at the end
		}
	}
	if l.follow {
		return err
	}
	return errors.Join(err, l.joiner.flush(emit))
}

// maxIdle is how often in a row a log is opened of which nothing comes.
const maxIdle = 3

// tail calls emit with the last n lines that are there, or with fewer where these have more
// than most bytes together. cut says so.
func (l *taskLog) tail(
	ctx context.Context, n, most int, since time.Time, emit func(Line) error,
) (cut bool, err error) {
	// A line has one message or more, and the first line of a stream may lack its beginning.
	const some, pieces = 32, MaxLine/pieceLen + 1
	for messages := n + some; ; messages *= 4 {
		fresh := newTaskLog(l.engine, l.task, l.follow)
		last := lastLines{lines: n, bytes: most, seen: map[string]bool{}}
		err = fresh.read(ctx, swarm.LogOptions{Tail: messages, Since: since}, last.add)
		all := fresh.messages < messages || messages >= pieces*(n+some)
		if all || err != nil || last.whole() == min(n, len(last.list)) && (len(last.list) == n || last.cut) {
			*l = *fresh
			return last.cut && len(last.list) < n, errors.Join(err, last.emit(emit))
		}
	}
}

// silence is how long an engine may take to go on with a log that is not followed.
const silence = 5 * time.Second

// errSilent is the end of a log that Docker did not end.
var errSilent = errors.New("Docker went silent before its end")

// pass reads a log once, from where the one before ended.
func (l *taskLog) pass(ctx context.Context, o swarm.LogOptions, emit func(Line) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var patience *time.Timer
	if !o.Follow {
		patience = time.AfterFunc(silence, func() { cancel(errSilent) })
		defer patience.Stop()
	}
	again, left := l.after(&o)
	body, err := l.engine.OpenLog(ctx, l.task, o)
	if err != nil {
		return because(ctx, err)
	}
	defer body.Close()
	said := ""
	for in, known := newFrames(timed{body, patience}), false; ; {
		p, err := in.next()
		switch {
		case errors.Is(err, io.EOF) && said != "":
			return errors.New(words.OneLine(strings.TrimPrefix(said, errorPrefix)))
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return because(ctx, err)
		case p.stream == engine:
			said += string(p.text[:min(len(p.text), maxWord-len(said))])
			continue
		}
		if p.begins {
			known = again(p.time)
		}
		if known {
			continue
		}
		if p.begins && l.begins != nil {
			l.begins(p.time, left())
		}
		l.count(p)
		if err := l.joiner.add(p, emit); err != nil {
			return err
		}
	}
}

// maxWord bounds what is taken of what an engine says of a log, in bytes.
const maxWord = 1 << 10

// after makes o begin where the last pass ended. The first function that it returns reports of each
// message, in turn, whether it was read then, and the second how many of those have not come.
func (l *taskLog) after(o *swarm.LogOptions) (again func(time.Time) bool, left func() int) {
	from, n := l.latest, l.same
	if !from.IsZero() {
		o.Since = from
	}
	again = func(t time.Time) bool {
		if n == 0 || !t.Equal(from) {
			return false
		}
		n--
		return true
	}
	return again, func() int { return n }
}

// count notes how far the log is read.
func (l *taskLog) count(p piece) {
	if !p.begins {
		return
	}
	l.messages++
	switch {
	case p.time.Equal(l.latest):
		l.same++
	case p.time.After(l.latest):
		l.latest, l.same = p.time, 1
	}
}

// because returns what a context was cancelled by, or err.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// timed is a reader of which a timer runs while it is read; nil: none.
type timed struct {
	io.Reader
	timer *time.Timer
}

// Read implements io.Reader.
func (t timed) Read(p []byte) (int, error) {
	if t.timer != nil {
		t.timer.Reset(silence)
		defer t.timer.Stop()
	}
	return t.Reader.Read(p)
}

// lastLines keeps the last lines of a log.
type lastLines struct {
	lines, bytes int // at most
	list         []headed
	size         int
	seen         map[string]bool // streams
	cut          bool            // for the bytes
}

// headed is a line, and whether it is the first of its stream.
type headed struct {
	Line
	first bool
}

func (k *lastLines) add(line Line) error {
	k.list = append(k.list, headed{line, !k.seen[line.Stream]})
	k.seen[line.Stream] = true
	k.size += len(line.Text)
	for len(k.list) > k.lines || k.size > k.bytes && len(k.list) > 1 {
		k.cut = k.cut || len(k.list) <= k.lines
		k.size -= len(k.list[0].Text)
		k.list[0] = headed{}
		k.list = k.list[1:]
	}
	return nil
}

// whole returns how many of the lines, from the last on, have their beginning for certain.
func (k *lastLines) whole() (n int) {
	for _, l := range slices.Backward(k.list) {
		if l.first {
			break
		}
		n++
	}
	return n
}

func (k *lastLines) emit(emit func(Line) error) error {
	for _, l := range k.list {
		if err := emit(l.Line); err != nil {
			return err
		}
	}
	return nil
}
