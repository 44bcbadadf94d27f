package tasklog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seeds runs a test with random logs.
func seeds(t *testing.T, n int, test func(t *testing.T, r *rand.Rand)) {
	t.Helper()
	for seed := range n {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { test(t, rand.New(rand.NewPCG(1, uint64(seed)))) })
	}
}

// TestView_AnyInterleaving: each line is whole, of its task and in its place, whatever tasks
// write to which stream, on a terminal or not.
func TestView_AnyInterleaving(t *testing.T) {
	t.Parallel()
	seeds(t, 60, func(t *testing.T, r *rand.Rand) {
		d, tasks := someTasks(r)
		var s shown
		if err := s.view(tasks).Run(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			sameLines(t, task.ID, s.lines[task.ID], d.logs[task.ID].lines)
		}
		if len(s.notes) > 0 {
			t.Errorf("it says %q", s.notes)
		}
	})
}

// TestView_OrderOfTime: lines of many tasks come by their times.
func TestView_OrderOfTime(t *testing.T) {
	t.Parallel()
	seeds(t, 20, func(t *testing.T, r *rand.Rand) {
		d := &docker{logs: map[string]*written{}, rand: r}
		var tasks []Task
		for i := range 5 {
			task, w, at := aTask(i), &written{bare: i == 0}, epoch
			for n := range r.IntN(200) {
				at = at.Add(time.Duration(r.IntN(1e6)))
				w.write(Stdout, at, fmt.Sprint("line ", n), func() {})
			}
			d.logs[task.ID] = w
			tasks = append(tasks, task)
		}
		var s shown
		if err := s.view(tasks).Run(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(s.times, time.Time.Compare) {
			t.Error("the lines are not in the order of time")
		}
	})
}

// TestView_Tail: the last lines are whole, however many messages they have.
func TestView_Tail(t *testing.T) {
	t.Parallel()
	seeds(t, 25, func(t *testing.T, r *rand.Rand) {
		w := &written{bare: r.IntN(3) == 0}
		for n := range r.IntN(40) {
			w.write([]string{Stdout, Stderr}[r.IntN(2)], epoch.Add(time.Duration(n)), someText(r, "a", n), func() {})
		}
		task := aTask(1)
		d := &docker{logs: map[string]*written{task.ID: w}, rand: r}
		for _, n := range []int{0, 1, 2, 3, 5, 50} {
			var s shown
			v := s.view([]Task{task})
			v.Tail = n
			if err := v.Run(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			sameLines(t, fmt.Sprint("the last ", n), s.lines[task.ID], w.lines[max(0, len(w.lines)-n):])
			last, err := Last(t.Context(), d, task.ID, n)
			if err != nil {
				t.Fatal(err)
			}
			sameLines(t, fmt.Sprint("the very last ", n), last, w.lines[max(0, len(w.lines)-n):])
		}
	})
}

// TestEnds: what a log begins and ends with is what was written, in the bounds, and no line is in both.
func TestEnds(t *testing.T) {
	t.Parallel()
	seeds(t, 25, func(t *testing.T, r *rand.Rand) {
		w := &written{bare: r.IntN(3) == 0}
		for n := range r.IntN(60) {
			w.write([]string{Stdout, Stderr}[r.IntN(2)], epoch.Add(time.Duration(n)), someText(r, "a", n), func() {})
		}
		d := &docker{logs: map[string]*written{"task1": w}, rand: r}
		for _, most := range []int{1, 10_000, MaxLine, 100 * MaxLine} {
			const first, last = 4, 20
			begin, end, err := Ends(t.Context(), d, "task1", first, last, most)
			if err != nil {
				t.Fatal(err)
			}
			if len(begin) > first || len(end) > last || size(begin) > most+MaxLine || size(end) > most+MaxLine {
				t.Errorf("of %d bytes: %d lines of %d, %d of %d", most, len(begin), size(begin), len(end), size(end))
			}
			sameLines(t, "the first", begin, w.lines[:len(begin)])
			sameLines(t, "the last", end, w.lines[len(w.lines)-len(end):])
			switch n := len(w.lines); {
			case begin == nil && len(end) < min(n, last) && most > 100*pieceLen:
				t.Errorf("%d of %d lines are all", len(end), n)
			case len(begin)+len(end) > n:
				t.Errorf("%d and %d lines of %d", len(begin), len(end), n)
			case most == 100*MaxLine && n > last && len(begin) != min(first, n-last):
				t.Errorf("the first %d of %d lines", len(begin), n)
			}
		}
		if d.open > 0 {
			t.Errorf("%d logs are open", d.open)
		}
	})
}

func size(lines []Line) (n int) {
	for _, l := range lines {
		n += len(l.Text)
	}
	return n
}

// TestView_LastLineWithoutEnd: what a task wrote last counts, also without a line feed.
func TestView_LastLineWithoutEnd(t *testing.T) {
	t.Parallel()
	for _, bare := range []bool{false, true} {
		w := &written{bare: bare, messages: []message{
			{Stdout, epoch, "first\n"},
			{Stdout, epoch.Add(1), strings.Repeat("x", pieceLen)},
			{Stdout, epoch.Add(1), "killed"},
		}}
		d := &docker{logs: map[string]*written{"task1": w}, rand: rand.New(rand.NewPCG(1, 1))}
		last, err := Last(t.Context(), d, "task1", 1)
		if err != nil || len(last) != 1 || last[0].Text != strings.Repeat("x", pieceLen)+"killed" {
			t.Errorf("bare %v: %d lines, %v", bare, len(last), err)
		}
	}
}

// TestView_SilentEngine: a log that Docker does not end is read to its end all the same, and
// what can't be had is said.
func TestView_SilentEngine(t *testing.T) {
	t.Parallel()
	seeds(t, 30, func(t *testing.T, r *rand.Rand) {
		synctest.Test(t, func(t *testing.T) {
			d, tasks := someTasks(r)
			for _, task := range tasks {
				// What has one time can't be told apart.
				d.loses[task.ID] = atOneTime(d.logs[task.ID]) + 1 + r.IntN(20)
			}
			var s shown
			begun := time.Now()
			if err := s.view(tasks).Run(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			for _, task := range tasks {
				sameLines(t, task.ID, s.lines[task.ID], d.logs[task.ID].lines)
			}
			if took := time.Since(begun); took > 20*silence {
				t.Errorf("it took %s", took)
			}
		})
	})
	t.Run("for good", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := &written{}
			for range 5 { // all at one time: there is no way past the first
				w.write(Stdout, epoch, "a", func() {})
			}
			d := &docker{
				logs:  map[string]*written{"task1": w},
				loses: map[string]int{"task1": 1},
				rand:  rand.New(rand.NewPCG(1, 1)),
			}
			var s shown
			if err := s.view([]Task{aTask(1)}).Run(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if len(s.notes) != 1 || !strings.Contains(s.notes[0], "the log of spider.1@h1 has not come in full") {
				t.Errorf("it says %q", s.notes)
			}
		})
	})
}

// incomplete is what Docker begins with where it could not read a log to its end.
const incomplete = "rpc error: code = Unknown desc = warning: incomplete log stream. some logs could not be " +
	"retrieved for the following reasons: "

// TestView_Away: the log of a task whose node is down is missing, which is said once, with
// names.
func TestView_Away(t *testing.T) {
	t.Parallel()
	const id = "v9tes7fgnpchy1m14ou0w976d"
	d := &docker{logs: map[string]*written{}, rand: rand.New(rand.NewPCG(1, 1))}
	there, away, also, lost := aTask(1), aTask(2), aTask(3), aTask(4)
	away.Node, away.Away, also.Node, also.Away = "h2", "down", "h2", "down"
	lost.NodeID = id
	w := &written{}
	w.write(Stdout, epoch, "it works", func() {})
	d.logs[there.ID], d.logs[away.ID], d.logs[also.ID] = w, w, w
	d.logs[lost.ID] = &written{messages: []message{{engine, epoch, errorPrefix + incomplete + "node " + id +
		" is not available\n"}}}
	pending := aTask(5)
	pending.Container = ""
	var s shown
	if err := s.view([]Task{there, away, also, lost, pending}).Run(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"node h2 is down: what its tasks wrote is missing",
		"the log of spider.4@h1 has not come in full: node h1 is not available",
	}
	if !slices.Equal(s.notes, want) {
		t.Errorf("it says %q, want %q", s.notes, want)
	}
	if len(s.lines) != 1 || len(s.lines[there.ID]) != 1 {
		t.Errorf("it shows %v", s.lines)
	}
}

// TestView_Gone: a client that is gone ends the view, and what it has begun.
func TestView_Gone(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	d, tasks := someTasks(rand.New(rand.NewPCG(1, 3)))
	var s shown
	v := s.view(tasks)
	v.Show = func(Task, Line) error { return gone }
	if err := v.Run(t.Context(), d); !errors.Is(err, gone) || d.open != 0 {
		t.Errorf("%v; %d logs are open", err, d.open)
	}
}

// TestView_Bounds: what is kept of the last lines is bounded, and so are the logs that are
// open, and it is said.
func TestView_Bounds(t *testing.T) {
	t.Parallel()
	w := &written{}
	for n := range 40 {
		w.write(Stdout, epoch.Add(time.Duration(n)), strings.Repeat("x", 100), func() {})
	}
	d := &docker{logs: map[string]*written{"task1": w}, rand: rand.New(rand.NewPCG(1, 1))}
	lines := 0
	count := func(Line) error { lines++; return nil }
	if cut, err := newTaskLog(d, "task1", false).tail(t.Context(), 30, 1000, time.Time{}, count); err != nil || !cut ||
		lines != 10 {
		t.Errorf("%d lines of 100 bytes within 1000, cut %v, %v", lines, cut, err)
	}
	var s shown
	r := &reading{View: s.view(nil)}
	r.Tail = 30
	err := r.noteMissing([]*source{{Task: aTask(1), cut: true}, {Task: aTask(2)}})
	if want := "the log of spider.1@h1 has long lines: fewer than 30 are shown"; err != nil || len(s.notes) != 1 ||
		s.notes[0] != want {
		t.Errorf("%v; it says %q, want %q", err, s.notes, want)
	}
	d.logs["task1"] = &written{}
	many := make([]Task, maxTasks+10)
	for i := range many {
		many[i] = aTask(i)
	}
	s = shown{}
	if err := s.view(many).Run(t.Context(), d); err != nil || len(s.notes) != 1 ||
		!strings.HasPrefix(s.notes[0], fmt.Sprintf("%d tasks have written; 512 are shown", len(many))) {
		t.Errorf("%v; it says %q", err, s.notes)
	}
}

// TestFollow: lines come soon, each once, also those of tasks that begin later; a task that
// has ended is let go.
func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &docker{logs: map[string]*written{}, rand: rand.New(rand.NewPCG(1, 1))}
		write := func(id, text string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.logs[id] == nil {
				d.logs[id] = &written{}
			}
			d.logs[id].write(Stdout, time.Now(), text, func() {})
		}
		write("task1", "old")
		write("task1", strings.Repeat("x", 3*pieceLen))
		tasks := []Task{aTask(1)}
		var s shown
		v := s.view(nil)
		v.Follow = true
		v.Tasks = func(context.Context) ([]Task, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			return slices.Clone(tasks), nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- v.Run(ctx, d) }()
		time.Sleep(time.Second)
		write("task1", "new")
		time.Sleep(2*window + 20*time.Millisecond)
		wantLines(t, &s, "task1", "old", strings.Repeat("x", 3*pieceLen), "new")
		d.mu.Lock()
		tasks = append(tasks, aTask(2))
		d.mu.Unlock()
		write("task2", "another")
		time.Sleep(2 * lookInterval)
		wantLines(t, &s, "task2", "another")
		d.mu.Lock()
		tasks[0].State = fleet.TaskFailed
		d.mu.Unlock()
		write("task1", "last words")
		time.Sleep(endedPatience + 3*lookInterval)
		wantLines(t, &s, "task1", "old", strings.Repeat("x", 3*pieceLen), "new", "last words")
		d.mu.Lock()
		if d.open != 1 {
			t.Errorf("%d logs are open, want that of the task that runs", d.open)
		}
		d.mu.Unlock()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func wantLines(t *testing.T, s *shown, task string, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for _, l := range s.lines[task] {
		got = append(got, l.Text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d lines %.50q, want %d", task, len(got), got, len(want))
	}
}

// TestFollow_EngineAway: following goes on over a time without an engine, and ends with its
// error if that is long.
func TestFollow_EngineAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &docker{logs: map[string]*written{"task1": {}}, rand: rand.New(rand.NewPCG(1, 1))}
		away := errors.New("away")
		var s shown
		v := s.view(nil)
		v.Follow = true
		looks := 0
		v.Tasks = func(context.Context) ([]Task, error) {
			if looks++; looks > 1 {
				return nil, away
			}
			return []Task{aTask(1)}, nil
		}
		begun := time.Now()
		if err := v.Run(t.Context(), d); !errors.Is(err, away) || time.Since(begun) < lookPatience {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
	})
}

func TestJoiner_CutsBetweenCharacters(t *testing.T) {
	t.Parallel()
	var got []Line
	j := joiner{}
	text := "x" + strings.Repeat("é", MaxLine)
	for _, p := range []piece{{stream: Stdout, text: []byte(text)}, {stream: Stdout, ends: true}} {
		if err := j.add(p, func(l Line) error { got = append(got, l); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	whole := ""
	for _, l := range got {
		whole += l.Text
		if strings.ContainsRune(l.Text, '\ufffd') || len(l.Text) > MaxLine {
			t.Errorf("a line of %d bytes: %.20q", len(l.Text), l.Text)
		}
	}
	if whole != text || len(j) > 0 {
		t.Errorf("%d bytes of %d, and %d lines are open", len(whole), len(text), len(j))
	}
}

// FuzzFrames: whatever an engine sends, pieces are bounded and reading ends.
func FuzzFrames(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 10 {
		w := someLog(r, "a")
		f.Add(encode(w.bare, w.messages))
	}
	f.Add([]byte("\x01\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		in, total := newFrames(bytes.NewReader(sent)), 0
		for {
			p, err := in.next()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) &&
					!strings.Contains(err.Error(), "a log that is none") {
					t.Errorf("got %v", err)
				}
				break
			}
			if total += len(p.text); len(p.text) > chunk {
				t.Errorf("a piece has %d bytes", len(p.text))
			}
		}
		if total > len(sent) {
			t.Errorf("%d bytes were made of %d", total, len(sent))
		}
	})
}
