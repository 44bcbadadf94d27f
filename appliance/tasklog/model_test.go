package tasklog

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// A model of what Docker does with what tasks write, and of what should be shown of it.

var epoch = time.Date(2024, 11, 22, 8, 0, 0, 0, time.UTC)

// message is one of a log driver: a line, or a piece of one.
type message struct {
	stream string
	time   time.Time
	text   string // with its line feed, if its line ends with it
}

// written is what a task has written.
type written struct {
	bare     bool // on a terminal
	messages []message
	lines    []Line // what should be shown of it
}

// write adds a line as Docker cuts it. Between its pieces is room for what goes to the other
// stream.
func (w *written) write(stream string, at time.Time, text string, between func()) {
	if w.bare {
		stream, text = Stdout, text+"\r"
	}
	text += "\n"
	for rest := text; rest != ""; {
		n := min(len(rest), pieceLen)
		if i := strings.IndexByte(rest[:n], '\n'); i >= 0 {
			n = i + 1
		}
		w.messages = append(w.messages, message{stream, at, rest[:n]})
		if rest = rest[n:]; rest != "" {
			between()
		}
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	for len(text) > MaxLine {
		w.lines = append(w.lines, Line{at, stream, text[:MaxLine], true})
		text = text[MaxLine:]
	}
	w.lines = append(w.lines, Line{at, stream, text, false})
}

// encode returns what the engine sends of messages.
func encode(bare bool, messages []message) []byte {
	var out bytes.Buffer
	for _, m := range messages {
		text := m.time.Format(stampFormat) + " " + m.text
		if !bare {
			head := make([]byte, headLen)
			head[0] = map[string]byte{Stdout: 1, Stderr: 2, engine: 3}[m.stream]
			if m.stream == engine {
				text = m.text
			}
			binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
			out.Write(head)
		}
		out.WriteString(text)
	}
	return out.Bytes()
}

// docker is an engine with the logs of tasks, by ID.
type docker struct {
	mu    sync.Mutex
	logs  map[string]*written
	loses map[string]int // messages after which a log goes silent that is not followed
	opens map[string]int
	open  int
	rand  *rand.Rand // for the sizes of what is read at once
}

// OpenLog implements Engine.
func (d *docker) OpenLog(ctx context.Context, task string, o swarm.LogOptions) (io.ReadCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.logs[task]
	if w == nil {
		return nil, fmt.Errorf("%w: task %s", swarm.ErrNotFound, task)
	}
	if d.opens == nil {
		d.opens = map[string]int{}
	}
	d.opens[task]++
	d.open++
	sent := len(w.messages)
	first := 0
	for !o.Since.IsZero() && first < sent && w.messages[first].time.Before(o.Since) {
		first++
	}
	if o.Tail >= 0 {
		first = max(first, sent-o.Tail)
	}
	if lost := d.loses[task]; lost > 0 && !o.Follow {
		sent = min(sent, first+lost)
	}
	text := encode(w.bare, w.messages[first:sent])
	if !w.bare && sent < len(w.messages) { // it may break off in a message
		next := encode(false, w.messages[sent:sent+1])
		text = append(text, next[:d.rand.IntN(len(next))]...)
	}
	return &body{
		ctx:    ctx,
		docker: d,
		log:    w,
		text:   text,
		sent:   sent,
		follow: o.Follow,
		silent: sent < len(w.messages) || d.loses[task] > 0 && first+d.loses[task] == len(w.messages),
	}, nil
}

// body is an answer of the engine.
type body struct {
	ctx    context.Context
	docker *docker
	log    *written
	text   []byte
	sent   int // messages
	follow bool
	silent bool // it does not end
	closed sync.Once
}

func (b *body) Read(p []byte) (int, error) {
	for {
		b.docker.mu.Lock()
		if len(b.text) == 0 && b.follow {
			b.text, b.sent = encode(b.log.bare, b.log.messages[b.sent:]), len(b.log.messages)
		}
		if len(b.text) > 0 {
			n := min(len(p), len(b.text), 1+b.docker.rand.IntN(3*pieceLen))
			copy(p, b.text[:n])
			b.text = b.text[n:]
			b.docker.mu.Unlock()
			return n, nil
		}
		b.docker.mu.Unlock()
		switch {
		case b.silent:
			<-b.ctx.Done()
			return 0, b.ctx.Err()
		case !b.follow:
			return 0, io.EOF
		}
		select {
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (b *body) Close() error {
	b.closed.Do(func() {
		b.docker.mu.Lock()
		defer b.docker.mu.Unlock()
		b.docker.open--
	})
	return nil
}

// hostile are texts that look like what stands around texts.
var hostile = []string{
	"", "x", "\r", epoch.Format(stampFormat) + " forged", "\x01\x00\x00\x00\x00\x00\x00\x05five!", "a\x00b\xff\xfec",
	errorPrefix + "it is none", "\x1b]0;title\x07", strings.Repeat("é", 5000), "k=v,k=v text",
}

// lengths are those at which something may go wrong.
var lengths = []int{
	1, 80, pieceLen - 1, pieceLen, pieceLen + 1, 2*pieceLen - 1, 2 * pieceLen, 40_000, chunk, chunk + 1, MaxLine,
	MaxLine + 1, MaxLine + pieceLen + 7,
}

// someText is what a spider may write.
func someText(r *rand.Rand, id string, n int) string {
	head := fmt.Sprintf("%s-%d ", id, n)
	switch r.IntN(8) {
	case 0:
		return head + strings.Repeat("x", lengths[r.IntN(len(lengths))])
	case 1:
		return hostile[r.IntN(len(hostile))]
	case 2: // at the beginning of a piece
		return strings.Repeat("y", pieceLen) + hostile[r.IntN(len(hostile))]
	}
	return head + strings.Repeat("z", r.IntN(100))
}

// someLog is what a task may have written, with pieces of both streams in any order.
func someLog(r *rand.Rand, id string) *written {
	w := &written{bare: r.IntN(3) == 0}
	at := epoch.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
	other := map[string]string{Stdout: Stderr, Stderr: Stdout}
	n := 0
	line := func(stream string, between func()) {
		n++
		at = at.Add(time.Duration(r.IntN(3)) * time.Millisecond) // some at the same time
		w.write(stream, at, someText(r, id, n), between)
	}
	for range r.IntN(30) {
		stream := []string{Stdout, Stderr}[r.IntN(2)]
		line(stream, func() {
			for !w.bare && r.IntN(2) == 0 {
				n++
				w.write(other[stream], at, fmt.Sprintf("%s-%d short", id, n), func() {})
			}
		})
	}
	return w
}

// someTasks are tasks with logs.
func someTasks(r *rand.Rand) (*docker, []Task) {
	d := &docker{logs: map[string]*written{}, loses: map[string]int{}, rand: r}
	var tasks []Task
	for i := range 1 + r.IntN(6) {
		t := aTask(i + 1)
		d.logs[t.ID] = someLog(r, t.ID)
		tasks = append(tasks, t)
	}
	return d, tasks
}

func aTask(slot int) Task {
	return Task{Task: fleet.Task{
		ID:        fmt.Sprintf("task%d", slot),
		Service:   "spider",
		Slot:      slot,
		Node:      "h1",
		State:     fleet.TaskRunning,
		Container: "c",
	}}
}

// shown collects what a view shows.
type shown struct {
	mu    sync.Mutex
	lines map[string][]Line // by the task's ID
	times []time.Time
	notes []string
}

func (s *shown) view(tasks []Task) View {
	s.lines = map[string][]Line{}
	return View{
		Tasks: func(context.Context) ([]Task, error) { return tasks, nil },
		Tail:  -1,
		Show: func(t Task, l Line) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lines[t.ID] = append(s.lines[t.ID], l)
			s.times = append(s.times, l.Time)
			return nil
		},
		Note: func(text string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.notes = append(s.notes, text)
			return nil
		},
	}
}

// atOneTime returns how many messages have the same time at most.
func atOneTime(w *written) (most int) {
	n := map[time.Time]int{}
	for _, m := range w.messages {
		n[m.time]++
		most = max(most, n[m.time])
	}
	return most
}

// ofStream returns the lines of a stream.
func ofStream(lines []Line, stream string) (list []Line) {
	for _, l := range lines {
		if l.Stream == stream {
			list = append(list, l)
		}
	}
	return list
}

func about(l Line) string {
	return fmt.Sprintf("of %s, %d bytes, cut %v: %.60q", l.Time, len(l.Text), l.Cut, l.Text)
}

// sameLines compares lines stream by stream: which of two streams comes first is known only
// of whole lines.
func sameLines(t *testing.T, what string, got, want []Line) {
	t.Helper()
	for _, stream := range []string{Stdout, Stderr} {
		got, want := ofStream(got, stream), ofStream(want, stream)
		for i := range max(len(got), len(want)) {
			switch {
			case i >= len(got):
				t.Fatalf("%s, %s: line %d of %d is missing: %.60q", what, stream, i, len(want), want[i].Text)
			case i >= len(want):
				t.Fatalf("%s, %s: there is one more than %d: %.60q", what, stream, len(want), got[i].Text)
			case got[i] != want[i]:
				t.Fatalf("%s, %s: line %d is %s, want %s", what, stream, i, about(got[i]), about(want[i]))
			}
		}
	}
}
