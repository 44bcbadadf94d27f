package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func open(t testing.TB, dir string, room int64) *Store {
	t.Helper()
	s, err := Open(dir, room, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func aTask(id string) Task {
	return Task{ID: id, Service: "spider", Name: "spider.1", Node: "h1", Began: epoch}
}

// noise does not become shorter.
var noise = func() string {
	text := make([]byte, 1<<20)
	for i, r := 0, rand.New(rand.NewPCG(3, 4)); i < len(text); i++ {
		text[i] = byte(r.Uint32())
	}
	return string(text)
}()

// write adds n lines of about so many bytes, that do not become much shorter.
func write(t testing.TB, w *Writer, r *rand.Rand, from, n, size int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		text := fmt.Sprintf("line %d ", i)
		if rest := size - len(text); rest > 0 {
			at := r.IntN(len(noise) - rest)
			text += noise[at : at+rest]
		}
		line := tasklog.Line{Time: epoch.Add(time.Duration(i)), Stream: tasklog.Stdout, Text: text}
		after := tasklog.Position{Latest: line.Time, Same: 1, Out: 1, Last: line.Time}
		if err := w.Add(line, after); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
}

// all reads a log to its end, page by page.
func all(t testing.TB, s *Store, id string, from Cursor, f Filter) (list []tasklog.Line) {
	t.Helper()
	for {
		page, err := s.Read(t.Context(), id, from, f, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, page.Lines...)
		if page.End {
			return list
		}
		if page.Next == from {
			t.Fatalf("it does not go on from %+v", from)
		}
		from = page.Next
	}
}

// wants checks that lines are those of write, in turn, beginning with one, but for words.
func wants(t testing.TB, list []tasklog.Line, from, n int) {
	t.Helper()
	i := from
	for _, line := range list {
		if line.Stream == Word {
			continue
		}
		if !strings.HasPrefix(line.Text, fmt.Sprintf("line %d ", i)) || !line.Time.Equal(epoch.Add(time.Duration(i))) {
			t.Fatalf("line %d is %.40q of %s", i, line.Text, line.Time)
		}
		i++
	}
	if i != from+n {
		t.Fatalf("there are %d lines, want %d", i-from, n)
	}
}

// TestStore writes a log in several goes, reads it meanwhile and afterwards, and finds how the task ended.
func TestStore(t *testing.T) {
	t.Parallel()
	dir, r := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	s := open(t, dir, 1<<30)
	w, from, err := s.Write(aTask("t1"))
	if err != nil || from != (tasklog.Position{}) {
		t.Fatal(from, err)
	}
	if _, _, err := s.Write(aTask("t1")); !errors.Is(err, ErrWritten) {
		t.Errorf("a second writer: %v", err)
	}
	write(t, w, r, 0, 3000, 100)
	wants(t, all(t, s, "t1", Cursor{}, Filter{}), 0, 3000) // also those in memory
	at, err := s.Tail("t1", 5)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, all(t, s, "t1", at, Filter{}), 2995, 5)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wants(t, all(t, s, "t1", at, Filter{}), 2995, 5) // a place stays one when its lines are written

	s = open(t, dir, 1<<30)
	w, from, err = s.Write(aTask("t1"))
	if want := epoch.Add(2999); err != nil || !from.Latest.Equal(want) || from.Out != 1 || from.Same != 1 {
		t.Fatalf("it goes on from %+v, %v", from, err)
	}
	write(t, w, r, 3000, 2000, 100)
	if err := w.End(epoch.Add(time.Hour), 3, true); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Store{s, open(t, dir, 1<<30)} {
		wants(t, all(t, s, "t1", Cursor{}, Filter{}), 0, 5000)
		is, known := s.Get("t1")
		if !known || !is.Ended.Equal(epoch.Add(time.Hour)) || is.ExitCode != 3 || !is.Failed || is.Changed == 0 {
			t.Errorf("its task is %+v", is)
		}
		wants(t, all(t, s, "t1", Cursor{}, Filter{Since: epoch.Add(4990)}), 4990, 10)
		if got := all(t, s, "t1", Cursor{}, Filter{Match: regexp.MustCompile(`^line 7\d\d `)}); len(got) != 100 {
			t.Errorf("%d lines match", len(got))
		}
		for _, n := range []int{1, 700, 4999, 5000, 6000} {
			at, err := s.Tail("t1", n)
			if err != nil {
				t.Fatal(err)
			}
			n = min(n, 5000)
			wants(t, all(t, s, "t1", at, Filter{}), 5000-n, n)
		}
		if _, _, err := s.Write(aTask("t1")); !errors.Is(err, ErrWritten) {
			t.Errorf("it is written on: %v", err)
		}
	}
	if _, err := s.Read(t.Context(), "t2", Cursor{}, Filter{}, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of an unknown task: %v", err)
	}
	for _, id := range []string{"", "../t", "T", "a.b", strings.Repeat("a", 65)} {
		if _, _, err := s.Write(aTask(id)); err == nil {
			t.Errorf("%q is an ID", id)
		}
	}
}

// onlyFiles returns what the files in a directory take.
func onlyFiles(t testing.TB, dir string) (size int64) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += onDisk(info.Size())
	}
	return size
}

// TestRoom_Runs: tasks that run and write much take their service's share at most, of which the newest lines stay.
func TestRoom_Runs(t *testing.T) {
	t.Parallel()
	const room = 20 << 20
	dir, r := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	s := open(t, dir, room)
	w, _, err := s.Write(aTask("t1"))
	if err != nil {
		t.Fatal(err)
	}
	other := aTask("t2")
	other.Service = "other"
	quiet, _, err := s.Write(other)
	if err != nil {
		t.Fatal(err)
	}
	write(t, quiet, r, 0, 10, 100)
	if err := quiet.End(epoch, 0, false); err != nil {
		t.Fatal(err)
	}
	n := 0
	for range 30 {
		write(t, w, r, n, 1000, 1000)
		n += 1000
		if size := onlyFiles(t, dir); size > room/groups+1<<16 {
			t.Fatalf("after %d lines there are %d bytes", n, size)
		}
	}
	if used, _ := s.Used(); used != onlyFiles(t, dir) {
		t.Errorf("it believes that %d bytes are used of %d", used, onlyFiles(t, dir))
	}
	list := all(t, s, "t1", Cursor{}, Filter{})
	wants(t, list, n-len(list), len(list))
	if len(list) < 3000 || len(list) > n/2 {
		t.Errorf("%d lines of %d are left", len(list), n)
	}
	wants(t, all(t, s, "t2", Cursor{}, Filter{}), 0, 10)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wants(t, all(t, open(t, dir, room), "t1", Cursor{}, Filter{}), n-len(list), len(list))
}

// TestRoom_Oldest: of tasks that have ended the oldest go, those that failed four times later.
func TestRoom_Oldest(t *testing.T) {
	t.Parallel()
	dir, r := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	s := open(t, dir, 10<<20)
	for i := range 40 {
		is := aTask(fmt.Sprintf("t%02d", i))
		is.Service = is.ID
		w, _, err := s.Write(is)
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, r, 0, 100, 1000)
		if err := w.End(epoch.Add(time.Duration(i)*time.Hour), 1, i == 25 || i == 4); err != nil {
			t.Fatal(err)
		}
	}
	s.now = func() time.Time { return epoch.Add(40 * time.Hour) }
	used, _ := s.Used()
	s.SetRoom(used / 4)
	var left []string
	for _, is := range s.Tasks(func(Task) bool { return true }) {
		left = append(left, is.ID)
	}
	// t04 counts as 9 hours old, as t31 is, and t25 as 3.75.
	if want := "t25 t32 t33 t34 t35 t36 t37 t38 t39"; strings.Join(left, " ") != want {
		t.Errorf("left are %v, want %s", left, want)
	}
	if size := onlyFiles(t, dir); size > used/4 {
		t.Errorf("there are %d bytes, more than %d", size, used/4)
	}
	if _, _, err := None().Write(aTask("t1")); !errors.Is(err, ErrFull) {
		t.Errorf("without room: %v", err)
	}
}

// TestFull: lines that find no room are counted, and that is said once there is some.
func TestFull(t *testing.T) {
	t.Parallel()
	dir, r := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	s := open(t, dir, 10<<20)
	w, _, err := s.Write(aTask("t1"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, r, 0, 10, 100)
	if err := w.Flush(0); err != nil {
		t.Fatal(err)
	}
	s.SetRoom(1)
	write(t, w, r, 10, 20, 100)
	if err := w.Flush(time.Hour); err != nil {
		t.Errorf("of lines that may wait: %v", err)
	}
	if err := w.Flush(0); !errors.Is(err, ErrFull) {
		t.Errorf("without room: %v", err)
	}
	s.SetRoom(10 << 20)
	write(t, w, r, 30, 5, 100)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	list := all(t, s, "t1", Cursor{}, Filter{})
	wants(t, list[:10], 0, 10)
	wants(t, list[10:15], 30, 5)
	if word := list[15]; word.Stream != Word || !strings.HasPrefix(word.Text, "20 lines before this were dropped") {
		t.Errorf("it says %q", word.Text)
	}
}

// TestCrash cuts the last file of a log, or damages it, at any place: what was whole is there, and it goes on from
// there, without a line that is there twice.
func TestCrash(t *testing.T) {
	t.Parallel()
	dir, r := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	s := open(t, dir, 1<<30)
	w, _, err := s.Write(aTask("t1"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		write(t, w, r, i*10, 10, 50)
		if err := w.Flush(0); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(filepath.Join(dir, nameOf("t1", 1)))
	if err != nil {
		t.Fatal(err)
	}
	for range 60 {
		text := append([]byte{}, whole...)
		if r.IntN(2) == 0 {
			text = text[:r.IntN(len(text))]
		} else {
			text[r.IntN(len(text))] ^= 0x55
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, nameOf("t1", 1)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, 1<<30)
		w, from, err := s.Write(aTask("t1"))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if !from.Latest.IsZero() {
			n = int(from.Latest.Sub(epoch)) + 1
		}
		write(t, w, r, n, 200-n, 50)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		list := all(t, open(t, dir, 1<<30), "t1", Cursor{}, Filter{})
		if lines, lost := 0, 0; true {
			for _, line := range list {
				if line.Stream == Word {
					_, _ = fmt.Sscanf(line.Text, "%d lines are left out", &lost)
				} else {
					lines++
				}
			}
			if lines+lost != 200 || lost > 10 {
				t.Fatalf("there are %d lines, and %d that are damaged", lines, lost)
			}
		}
	}
}

// TestExcerpt has the last lines of a log and those before them that tell of errors.
func TestExcerpt(t *testing.T) {
	t.Parallel()
	s, r := open(t, t.TempDir(), 1<<30), rand.New(rand.NewPCG(1, 2))
	w, _, err := s.Write(aTask("t1"))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := s.Excerpt(t.Context(), "t1"); err != nil || len(list) > 0 {
		t.Errorf("of nothing: %v, %v", list, err)
	}
	write(t, w, r, 0, 5000, 100)
	text := "ValueError: " + strings.Repeat("x", 5000)
	failed := tasklog.Line{Time: epoch.Add(5000), Stream: tasklog.Stderr, Text: text}
	if err := w.Add(failed, tasklog.Position{}); err != nil {
		t.Fatal(err)
	}
	write(t, w, r, 5001, 5000, 100)
	list, err := s.Excerpt(t.Context(), "t1")
	if err != nil || len(list) != ExcerptLines+2 {
		t.Fatal(len(list), err)
	}
	if first := list[0]; !strings.HasPrefix(first.Text, "ValueE") || !first.Cut || len(first.Text) > maxExcerptLine {
		t.Errorf("it begins with %.40q", first.Text)
	}
	wants(t, list[2:], 10001-ExcerptLines, ExcerptLines)
}

// TestPut replaces what is kept of a task.
func TestPut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	is := aTask("t1")
	for i := range 3 {
		is.Changed = int64(i)
		line := tasklog.Line{Time: epoch, Stream: tasklog.Stdout, Text: fmt.Sprint("version ", i)}
		if err := s.Put(is, []tasklog.Line{line}); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*Store{s, open(t, dir, 1<<20)} {
		if list := all(t, s, "t1", Cursor{}, Filter{}); len(list) != 1 || list[0].Text != "version 2" {
			t.Errorf("there is %v", list)
		}
		if is, _ := s.Get("t1"); is.Changed != 2 {
			t.Errorf("changed at %d", is.Changed)
		}
		if used, _ := s.Used(); used != onlyFiles(t, dir) {
			t.Errorf("%d bytes are used, %d are counted", onlyFiles(t, dir), used)
		}
	}
	if err := s.Put(aTask("../x"), nil); err == nil {
		t.Error("any name of a file will do")
	}
	is.Service = strings.Repeat("x", maxTask)
	if err := s.Put(is, nil); err == nil {
		t.Error("a task of any length will do")
	}
	if err := None().Put(aTask("t1"), nil); !errors.Is(err, ErrFull) {
		t.Errorf("without room: %v", err)
	}
}

// TestPut_Share: however much one node says, and whenever it says that was, what others said stays.
func TestPut_Share(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), 1<<20)
	keep := func(node string, i int, ended time.Time) {
		t.Helper()
		is := aTask(fmt.Sprint(node, i))
		is.NodeID, is.Ended, is.Changed = node, ended, int64(i)
		if err := s.Put(is, nil); err != nil {
			t.Fatal(err)
		}
	}
	keep("honest", 0, epoch)
	for i := range 1000 {
		keep("stolen", i, time.Now().AddDate(100, 0, 0))
	}
	if _, known := s.Get("honest0"); !known {
		t.Error("one node takes the room of another")
	}
	if n := len(s.Tasks(func(t Task) bool { return t.NodeID == "stolen" })); n == 0 || n > 1<<20/groups/cluster {
		t.Errorf("%d of the other are kept", n)
	}
}

// FuzzOpen reads files that somebody else has written: whatever they hold, they can be opened and read, and take no
// more memory than blocks may.
func FuzzOpen(f *testing.F) {
	dir, r := f.TempDir(), rand.New(rand.NewPCG(1, 2))
	s := open(f, dir, 1<<30)
	w, _, err := s.Write(aTask("t1"))
	if err != nil {
		f.Fatal(err)
	}
	write(f, w, r, 0, 20, 50)
	if err := w.End(epoch, 0, false); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, nameOf("t1", 1)))
	if err != nil {
		f.Fatal(err)
	}
	var p packer
	var bad lines
	bad.add(tasklog.Line{Time: epoch, Text: "x"}, tasklog.Position{})
	bad.head.lines = maxLines
	meta, _ := p.packTask(aTask("t1"))
	bomb := append([]byte{}, meta...)
	bomb = append(bomb, p.pack(bad.head, append(bad.raw, 0xff, 0xff, 0xff))...)
	f.Add(good)
	f.Add(bomb)
	f.Add(good[:len(good)-3])
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, nameOf("t1", 1)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, 1<<30)
		if _, known := s.Get("t1"); !known {
			return
		}
		all(t, s, "t1", Cursor{}, Filter{})
		for _, n := range []int{1, 1 << 30} {
			at, err := s.Tail("t1", n)
			if err != nil {
				t.Fatal(err)
			}
			all(t, s, "t1", at, Filter{})
		}
		if _, err := s.Excerpt(t.Context(), "t1"); err != nil {
			t.Fatal(err)
		}
		if w, _, err := s.Write(aTask("t1")); err == nil {
			write(t, w, rand.New(rand.NewPCG(1, 2)), 0, 3, 10)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			all(t, open(t, dir, 1<<30), "t1", Cursor{}, Filter{})
		}
	})
}

// BenchmarkAdd measures what a line costs that is kept.
func BenchmarkAdd(b *testing.B) {
	s := open(b, b.TempDir(), 1<<30)
	w, _, err := s.Write(aTask("t1"))
	if err != nil {
		b.Fatal(err)
	}
	text := "2026-01-01 00:00:00 [scrapy.core.engine] DEBUG: Crawled (200) <GET https://example.com/a/%d> (None)"
	b.SetBytes(int64(len(text)))
	for i := 0; b.Loop(); i++ {
		line := tasklog.Line{Time: epoch.Add(time.Duration(i)), Stream: tasklog.Stderr, Text: fmt.Sprintf(text, i)}
		if err := w.Add(line, tasklog.Position{}); err != nil {
			b.Fatal(err)
		}
	}
}
