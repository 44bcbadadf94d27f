package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("AUDIT_TEST_WRITER"); path != "" {
		writeUntilKilled(path)
	}
	goleak.VerifyTestMain(m)
}

// notes collects what goes to the normal log.
type notes struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.String()
}

func (n *notes) log() *slog.Logger { return slog.New(slog.NewTextHandler(n, nil)) }

func small(t *testing.T, path string, limit int64, log *slog.Logger) *Log {
	t.Helper()
	f, err := openFile(path, limit, keep)
	if err != nil {
		t.Fatal(err)
	}
	l := start(f, log)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// lines reads a file; each of its lines has to be one JSON object.
func lines(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatalf("%s: %q: %v", path, in.Text(), err)
		}
		all = append(all, line)
	}
	return all
}

func TestRecord(t *testing.T) {
	t.Parallel()
	var said notes
	path := filepath.Join(t.TempDir(), "audit", "audit.log")
	l, err := Open(path, said.log())
	if err != nil {
		t.Fatal(err)
	}
	l.Record("join", slog.String("addr", "10.0.0.2"), slog.Any("err", errors.New("expired")),
		slog.Group("who", slog.Int("uid", 7)))
	got := lines(t, path) // it is there once Record has returned
	if len(got) != 1 {
		t.Fatalf("got %v", got)
	}
	if _, err := time.Parse(time.RFC3339Nano, got[0]["time"].(string)); err != nil {
		t.Error(err)
	}
	delete(got[0], "time")
	if want := "map[addr:10.0.0.2 err:expired event:join who:map[uid:7]]"; fmt.Sprint(got[0]) != want {
		t.Errorf("got %v, want %s", got[0], want)
	}
	if !strings.Contains(said.String(), `level=INFO msg=join addr=10.0.0.2 err=expired who.uid=7`) {
		t.Errorf("the normal log says %q", said.String())
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	l.Record("late")
	if !strings.Contains(said.String(), "msg=late") || len(lines(t, path)) != 1 {
		t.Errorf("after Close: %q", said.String())
	}
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

func TestOpen_Refuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link, directory := filepath.Join(dir, "link"), filepath.Join(dir, "directory")
	if err := errors.Join(os.Symlink("/dev/null", link), os.Mkdir(directory, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, directory, "/dev/null"} {
		if l, err := Open(path, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s can be opened", path)
			l.Close()
		}
	}
}

func TestRecord_HostileValues(t *testing.T) {
	t.Parallel()
	var said notes
	path := filepath.Join(t.TempDir(), "audit.log")
	l := small(t, path, maxSize, said.log())
	many := make([]slog.Attr, 10_000)
	for i := range many {
		many[i] = slog.String(fmt.Sprint("k", i), strings.Repeat("\x01", 1000))
	}
	long := strings.Repeat("é", 1<<19)
	for _, attrs := range [][]slog.Attr{
		{slog.String("name", "a\n{\"event\":\"forged\"}\r\n\x1b[2J\u009b2J\u202e\u2028")},
		{slog.String("name", long), slog.Any("error",
			errors.New(long)), slog.Any("list", []string{long}), slog.String(long, "")},
		{slog.String("event", "forged"), slog.String("time",
			"never"), slog.String("msg", "x"), slog.String("level", "x")},
		{slog.String("invalid", "\xff\xfe")},
		{slog.Attr{Key: "deep", Value: slog.GroupValue(many...)}},
		many,
	} {
		l.Record("real", attrs...)
	}
	got := lines(t, path)
	if len(got) != 6 {
		t.Fatalf("%d lines, want 6", len(got))
	}
	for _, line := range got {
		if line["event"] != "real" {
			t.Errorf("event is %v", line["event"])
		}
	}
	if v := got[1]["name"].(string); len(v) > maxValue || !strings.HasSuffix(v, "é…") {
		t.Errorf("a long value is %d bytes", len(v))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if len(line) > 64<<10 {
			t.Errorf("a line has %d bytes", len(line))
		}
	}
	for name, text := range map[string]string{"file": string(text), "normal log": said.String()} {
		if strings.ContainsAny(text, "\x1b\u009b\u202e\u2028\x01\r") {
			t.Errorf("the %s could steer a terminal", name)
		}
	}
	if n := strings.Count(said.String(), "\n"); n != 6 {
		t.Errorf("%d lines in the normal log", n)
	}
}

func TestRecord_AtTheSameTime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := small(t, path, 40<<10, slog.New(slog.DiscardHandler))
	var all sync.WaitGroup
	for writer := range 8 {
		all.Go(func() {
			for n := range 100 {
				l.Record("local-api", slog.Int("writer", writer), slog.Int("n", n))
			}
		})
	}
	all.Wait()
	next := map[float64]float64{}
	for _, line := range oldestFirst(t, path) {
		w, n := line["writer"].(float64), line["n"].(float64)
		if n != next[w] {
			t.Errorf("writer %v: %v, want %v", w, n, next[w])
		}
		next[w] = n + 1
	}
	if len(next) != 8 || next[0] != 100 {
		t.Errorf("got %v", next)
	}
}

func oldestFirst(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	for n := keep; n > 0; n-- {
		all = append(all, lines(t, fmt.Sprintf("%s.%d", path, n))...)
	}
	return append(all, lines(t, path)...)
}

func TestRecord_FullDisk(t *testing.T) {
	dir := testenv.SmallDisk(t, "size=64k")
	var said notes
	path, ballast := filepath.Join(dir, "audit.log"), filepath.Join(dir, "ballast")
	l := small(t, path, maxSize, said.log())
	fill := func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
	}
	for range 2 {
		fill()
		for n := range 200 { // more than what is left of the file's last page
			l.Record("local-api", slog.Int("n", n))
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		l.Record("kept")
	}
	if n := strings.Count(said.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings of a disk that was full twice", n)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for line := range bytes.Lines(text) {
		if json.Valid(line) && bytes.Contains(line, []byte(`"kept"`)) {
			whole++
		}
	}
	if whole != 2 {
		t.Errorf("%d records after the disk had room again, want 2:\n%s", whole, text)
	}
}

// TestRecord_HangingDisk writes to a pipe that nobody empties.
func TestRecord_HangingDisk(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var said notes
	l := start(&file{f: w, max: maxSize, keep: keep}, said.log())
	if _, err := w.Write(make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.Record("stuck")
	if took := time.Since(began); took > 20*patience {
		t.Errorf("Record took %s", took)
	}
	if err := l.Close(); err == nil {
		t.Error("Close says that all is written")
	}
	r.Close() // the write fails
	<-l.closed
	if !strings.Contains(said.String(), "msg=stuck") {
		t.Errorf("the normal log says %q", said.String())
	}
}
