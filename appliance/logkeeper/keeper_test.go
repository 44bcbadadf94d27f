package logkeeper

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/appliance/logstore"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message is one of Docker's log: a line, or a piece of one of 16 KiB.
type message struct {
	at     time.Time
	stream byte
	text   string
}

// container is one of an engine, with its log.
type container struct {
	containers.State
	tty      bool
	messages []message
}

// engine is Docker in memory.
type engine struct {
	mu      sync.Mutex
	all     map[string]*container
	changed chan struct{} // closed when something is
	broken  error
}

func newEngine() *engine { return &engine{all: map[string]*container{}, changed: make(chan struct{})} }

// change does something under the lock, and tells who waits.
func (e *engine) change(fn func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	fn()
	close(e.changed)
	e.changed = make(chan struct{})
}

// start starts the container of a task.
func (e *engine) start(task string, tty bool) {
	e.change(func() {
		c := &container{tty: tty}
		c.ID, c.Task, c.Service, c.Name = "c"+task, task, "spider", "spider.1."+task
		c.Running, c.Started = true, time.Now()
		e.all[c.ID] = c
	})
}

// write writes a line as Docker cuts it.
func (e *engine) write(task string, stream byte, text string) {
	e.change(func() {
		c := e.all["c"+task]
		for text += "\n"; text != ""; {
			n := min(len(text), 16<<10)
			if i := strings.IndexByte(text[:n], '\n'); i >= 0 {
				n = i + 1
			}
			c.messages = append(c.messages, message{time.Now(), stream, text[:n]})
			text = text[n:]
		}
	})
}

func (e *engine) end(task string, code int) {
	e.change(func() {
		c := e.all["c"+task]
		c.Running, c.Ended, c.Code = false, time.Now(), code
	})
}

func (e *engine) List(context.Context) (list []containers.State, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.all {
		list = append(list, containers.State{Container: c.Container, Running: c.Running})
	}
	return list, e.broken
}

func (e *engine) State(_ context.Context, id string) (containers.State, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.all[id]; c != nil {
		return c.State, true, e.broken
	}
	return containers.State{}, false, e.broken
}

func (e *engine) Follow(ctx context.Context, following func() error, _ func(containers.Event)) error {
	_ = following()
	<-ctx.Done()
	return ctx.Err()
}

func (e *engine) OpenLog(ctx context.Context, id string, o swarm.LogOptions) (io.ReadCloser, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.all[id]
	if c == nil {
		return nil, swarm.ErrNotFound
	}
	from := 0
	for from < len(c.messages) && c.messages[from].at.Before(o.Since) {
		from++
	}
	return &reader{ctx: ctx, engine: e, of: c, next: from}, e.broken
}

// reader is a log that is followed.
type reader struct {
	ctx    context.Context
	engine *engine
	of     *container
	next   int
	left   []byte
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		r.engine.mu.Lock()
		changed, running, broken := r.engine.changed, r.of.Running, r.engine.broken
		more := r.next < len(r.of.messages)
		if more {
			r.left = encode(r.of.tty, r.of.messages[r.next])
			r.next++
		}
		r.engine.mu.Unlock()
		switch {
		case broken != nil:
			return 0, broken
		case more:
		case !running:
			return 0, io.EOF
		default:
			select {
			case <-changed:
			case <-r.ctx.Done():
				return 0, r.ctx.Err()
			}
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

func (r *reader) Close() error { return nil }

func encode(tty bool, m message) []byte {
	text := m.at.UTC().Format("2006-01-02T15:04:05.000000000Z07:00") + " " + m.text
	if tty {
		return []byte(text)
	}
	head := make([]byte, 8)
	head[0] = m.stream
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	return append(head, text...)
}

func open(t *testing.T, dir string) *logstore.Store {
	t.Helper()
	s, err := logstore.Open(dir, 1<<30, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// running keeps logs until end is called.
func running(t *testing.T, e *engine, s *logstore.Store) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = New(e, s, "h1", slog.New(slog.DiscardHandler)).Run(ctx)
	}()
	return func() { cancel(); <-done }
}

// texts returns what is kept of a task.
func texts(t *testing.T, s *logstore.Store, task string) (list []string) {
	t.Helper()
	for from := (logstore.Cursor{}); ; {
		page, err := s.Read(t.Context(), task, from, logstore.Filter{}, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range page.Lines {
			list = append(list, line.Text)
		}
		if from = page.Next; page.End {
			return list
		}
	}
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%d lines of %d are right: %.200q", i, len(want), got[i:min(i+2, len(got))])
		}
	}
}

// TestKeeper keeps what tasks write, on terminals and not, in lines of any length and of any bytes, over restarts of
// crawlbox and of Docker, and how they ended.
func TestKeeper(t *testing.T) {
	t.Parallel()
	for _, tty := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			dir, e := t.TempDir(), newEngine()
			e.start("t1", tty)
			var want []string
			write := func(stream byte, texts ...string) {
				for _, text := range texts {
					time.Sleep(time.Millisecond)
					if tty {
						e.write("t1", 1, text+"\r")
					} else {
						e.write("t1", stream, text)
					}
					want = append(want, text)
				}
			}
			s := open(t, dir)
			end := running(t, e, s)
			write(1, "first", strings.Repeat("x", 16<<10), strings.Repeat("y", 50_000), "\x00\xff\x1b[0m\x01\x02")
			write(2, "ERROR: oops", "")
			time.Sleep(time.Minute)
			same(t, texts(t, s, "t1"), want)
			end() // crawlbox

			write(1, "meanwhile", "again")
			s = open(t, dir)
			end = running(t, e, s)
			write(2, "then")
			time.Sleep(time.Minute)
			same(t, texts(t, s, "t1"), want)
			e.change(func() { e.broken = errors.New("Docker restarts") })
			time.Sleep(time.Minute)
			write(1, "unheard")
			e.change(func() { e.broken = nil })
			write(1, "last", string(bytes.Repeat([]byte{0xfe}, 1000)))
			e.end("t1", 3)
			time.Sleep(time.Minute)
			same(t, texts(t, s, "t1"), want)
			is, _ := s.Get("t1")
			if is.Ended.IsZero() || is.ExitCode != 3 || !is.Failed || is.Name != "spider.1" || is.Service != "spider" {
				t.Errorf("its task is %+v", is)
			}
			end()

			// One that went while crawlbox was away.
			e.change(func() { clear(e.all) })
			e.start("t2", tty)
			e.write("t2", 1, "only")
			s = open(t, dir)
			end = running(t, e, s)
			time.Sleep(time.Minute)
			end()
			e.change(func() { clear(e.all) })
			s = open(t, dir)
			end = running(t, e, s)
			time.Sleep(time.Minute)
			end()
			if is, _ := s.Get("t2"); is.Ended.IsZero() || !is.Failed || is.ExitCode != -1 {
				t.Errorf("one that is gone is %+v", is)
			}
			same(t, texts(t, s, "t1"), want)
		})
	}
}

// TestHasFailed tells tasks that failed from those that were ended.
func TestHasFailed(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]bool{0: false, 1: true, 137: false, 143: false, 139: true} {
		if got := hasFailed(containers.State{Code: code}); got != want {
			t.Errorf("exit code %d: %v", code, got)
		}
	}
	if !hasFailed(containers.State{Code: 137, OutOfMemory: true}) {
		t.Error("out of memory is no failure")
	}
}

// flood is the log of a container that writes 10,000 lines a second.
type flood struct {
	*engine
	text  string
	lines int
	begun time.Time
}

func (f *flood) at(n int) time.Time { return f.begun.Add(time.Duration(n) * 100 * time.Microsecond) }

func (f *flood) OpenLog(_ context.Context, _ string, o swarm.LogOptions) (io.ReadCloser, error) {
	is := &flooding{flood: f}
	if o.Tail >= 0 {
		is.n = max(0, min(f.lines, int(time.Since(f.begun)/(100*time.Microsecond)))-o.Tail)
	}
	for is.n < f.lines && f.at(is.n).Before(o.Since) {
		is.n++
	}
	return io.NopCloser(is), nil
}

// State says that it ends with its last line.
func (f *flood) State(ctx context.Context, id string) (containers.State, bool, error) {
	if time.Now().After(f.at(f.lines)) {
		f.end("t1", 0)
	}
	return f.engine.State(ctx, id)
}

type flooding struct {
	*flood
	n    int
	left []byte
}

func (f *flooding) Read(p []byte) (int, error) {
	if len(f.left) == 0 {
		if f.n == f.lines {
			return 0, io.EOF
		}
		time.Sleep(time.Until(f.at(f.n)))
		f.left = encode(false, message{f.at(f.n), 1, fmt.Sprintf("%07d %s\n", f.n, f.text)})
		f.n++
	}
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n, nil
}

// TestKeeper_Flood: 10,000 lines a second are kept, all of them where they are short, in bounded memory; of more than a
// node keeps it is said which are missing, and the last lines are there.
func TestKeeper_Flood(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		size, lines int
		drops       bool
	}{
		"short lines": {100, 40_000, false},
		"long lines":  {4000, 60_000, true}, // 40 MB a second
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &flood{engine: newEngine(), text: strings.Repeat("x", tt.size), lines: tt.lines, begun: time.Now()}
				f.start("t1", false)
				s := open(t, t.TempDir())
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					defer close(done)
					_ = New(f, s, "h1", slog.New(slog.DiscardHandler)).Run(ctx)
				}()
				for before := heap(); ; {
					time.Sleep(time.Second)
					if now := heap(); now > before+64<<20 {
						t.Errorf("it takes %d MB", (now-before)>>20)
					}
					if is, known := s.Get("t1"); known && !is.Ended.IsZero() {
						break
					}
				}
				cancel()
				<-done
				kept, gaps := count(t, s, tt.lines)
				if tt.drops && (gaps == 0 || kept == tt.lines) || !tt.drops && (gaps > 0 || kept != tt.lines) {
					t.Errorf("of %d lines %d are kept, with %d gaps", tt.lines, kept, gaps)
				}
				took := f.at(tt.lines).Sub(f.begun) + 10*time.Second
				if kept < tt.lines/20 || kept*tt.size > int(maxRate*took.Seconds()) {
					t.Errorf("%d lines of %d are kept", kept, tt.lines)
				}
			})
		})
	}
}

// count returns how many lines are kept, in order and up to the last one, and how many gaps there are, of each of which
// something is said.
func count(t *testing.T, s *logstore.Store, all int) (kept, gaps int) {
	t.Helper()
	next, said := 0, false
	for _, text := range texts(t, s, "t1") {
		n := 0
		if strings.HasPrefix(text, "the lines of ") {
			gaps, said = gaps+1, true
			continue
		}
		if _, err := fmt.Sscanf(text, "%d", &n); err != nil {
			t.Fatal(err)
		}
		if n != next && (!said || n < next) {
			t.Fatalf("line %d comes after %d, and nothing is said between", n, next-1)
		}
		kept, next, said = kept+1, n+1, false
	}
	if next != all {
		t.Errorf("the last of %d lines is number %d", all, next-1)
	}
	return kept, gaps
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

var _ tasklog.Engine = (*engine)(nil)
