package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func batchOf(i int) []Command {
	return []Command{
		{DB: i % 16, Args: []string{"SET", fmt.Sprintf("key %d", i), strings.Repeat("v", i%7)}},
		{DB: 0, Args: []string{"DEL", "\x00\r\n"}},
	}[:1+i%2]
}

// recorder is a store that keeps every batch.
type recorder struct {
	*Journal
	mu      sync.Mutex
	batches [][]Command
	begun   [][]Command // at the beginning of a rewrite
	emitted func(n int) // called before each batch of a rewrite; may be nil
}

func (r *recorder) apply(batch []Command) error {
	if len(batch) > 0 {
		r.batches = append(r.batches, batch)
	}
	return nil
}

func (r *recorder) Append(batch []Command) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, batch)
	return r.Journal.Append(batch)
}

func (r *recorder) Begin(cut func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = slices.Clone(r.batches)
	cut()
}

func (r *recorder) Each(emit func([]Command) error) error {
	for i, batch := range r.begun {
		if r.emitted != nil {
			r.emitted(i)
		}
		if err := emit(batch); err != nil {
			return err
		}
	}
	return nil
}

func (r *recorder) End() { r.begun = nil }

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

var fast = Options{SyncInterval: time.Millisecond}

func open(t *testing.T, dir string, opts Options) (*recorder, [][]Command, error) {
	t.Helper()
	var r recorder
	var err error
	r.Journal, err = Open(dir, opts, testLog(t), &r, r.apply)
	return &r, slices.Clone(r.batches), err
}

// contents returns the batches in dir, as the next start would see them.
func contents(t *testing.T, dir string) [][]Command {
	t.Helper()
	j, batches, err := open(t, dir, fast)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return batches
}

// running runs j until the returned function is called.
func running(t *testing.T, j *recorder) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

// write makes a journal in dir with the batches from first to last-1.
func write(t *testing.T, dir string, first, last int) [][]Command {
	t.Helper()
	j, _, err := open(t, dir, fast)
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, j)
	var want [][]Command
	for i := first; i < last; i++ {
		want = append(want, batchOf(i))
		if err := j.Append(batchOf(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return want
}

func mustEqual(t *testing.T, got, want [][]Command) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %d batches, want %d:\n%.2000v\n%.2000v", len(got), len(want), got, want)
	}
}

func TestJournal_KeepsWhatWasAppended(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "queue")
	want := write(t, dir, 0, 50)
	want = append(want, write(t, dir, 50, 60)...)
	mustEqual(t, contents(t, dir), want)
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v %v, want mode 0700", info.Mode(), err)
	}
}

func TestJournal_TornAtEveryByte(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	want := write(t, source, 0, 12)
	whole, err := os.ReadFile(filepath.Join(source, "segment-0000000001"))
	if err != nil {
		t.Fatal(err)
	}
	ends := recordEnds(t, want)
	if ends[len(ends)-1] != len(whole) {
		t.Fatalf("records end at %d, file at %d", ends[len(ends)-1], len(whole))
	}
	dir := t.TempDir()
	for cut := range len(whole) + 1 {
		for _, tail := range []string{"", strings.Repeat("\x00", 40)} {
			path := filepath.Join(dir, "segment-0000000001")
			if err := os.WriteFile(path, append(bytes.Clone(whole[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			if tail != "" && !slices.Contains(ends, cut) {
				continue // zeros inside a record are covered by the corruption test
			}
			n, _ := slices.BinarySearch(ends, cut+1)
			mustEqual(t, contents(t, dir), want[:n])
			more := write(t, dir, 100, 102) // goes on behind the last good record
			mustEqual(t, contents(t, dir), append(slices.Clone(want[:n]), more...))
		}
	}
}

// recordEnds returns where each record of the batches ends in a file.
func recordEnds(t *testing.T, batches [][]Command) []int {
	t.Helper()
	var ends []int
	buf := []byte(magic)
	for _, batch := range batches {
		var err error
		if buf, err = appendRecord(buf, batch); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(buf))
	}
	return ends
}

func TestJournal_FlippedByteIsFound(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	want := write(t, source, 0, 8)
	whole, err := os.ReadFile(filepath.Join(source, "segment-0000000001"))
	if err != nil {
		t.Fatal(err)
	}
	ends := recordEnds(t, want)
	dir := t.TempDir()
	path := filepath.Join(dir, "segment-0000000001")
	for i := len(magic); i < ends[len(ends)-2]; i++ { // all but the last record
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x41
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := open(t, dir, fast)
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) {
			t.Fatalf("byte %d flipped: got %v, want a CorruptError", i, err)
		}
		n, _ := slices.BinarySearch(ends, i+1)
		start := int64(len(magic))
		if n > 0 {
			start = int64(ends[n-1])
		}
		if corrupt.File != path || corrupt.Offset != start ||
			!strings.Contains(err.Error(), fmt.Sprintf("truncate -s %d %s", start, path)) {
			t.Fatalf("byte %d flipped: got %v, want file %s and byte %d", i, err, path, start)
		}
	}
	after, err := os.ReadFile(path)
	if err != nil || len(after) != len(whole) {
		t.Errorf("the damaged file was changed: %d bytes, want %d (%v)", len(after), len(whole), err)
	}
}

func TestJournal_Rewrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _, err := open(t, dir, Options{SyncInterval: time.Millisecond, RewriteSize: 512})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, j)
	var want [][]Command
	deadline := time.Now().Add(10 * time.Second)
	for i := 0; !exists(filepath.Join(dir, "snapshot-0000000003")); i++ { // several rewrites under load
		if time.Now().After(deadline) {
			t.Fatal("no third rewrite within 10 s")
		}
		want = append(want, batchOf(i))
		if err := j.Append(batchOf(i)); err != nil {
			t.Fatal(err)
		}
		if err := j.Admit(context.Background()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Microsecond) // the pace of a client
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, contents(t, dir), want)
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// TestJournal_CrashDuringRewrite copies the directory at every step of a rewrite
// and opens the copy, as after a kill at that moment.
func TestJournal_CrashDuringRewrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := write(t, dir, 0, 20)
	var crashes []string
	crash := func() {
		crashed := t.TempDir()
		if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		crashes = append(crashes, crashed)
	}
	crash()
	f, err := scanDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	next, err := createSegment(f.segmentPath(2), 2)
	if err != nil {
		t.Fatal(err)
	}
	next.file.Close()
	crash()
	source := &recorder{begun: want, emitted: func(n int) {
		if n == 10 || n == len(want)-1 {
			crash()
		}
	}}
	if _, err = writeSnapshot(t.Context(), dir, 1, source); err != nil {
		t.Fatal(err)
	}
	crash() // new name, old files still there
	if err := os.Remove(f.segmentPath(1)); err != nil {
		t.Fatal(err)
	}
	crash()
	for i, crashed := range crashes {
		mustEqual(t, contents(t, crashed), want)
		more := write(t, crashed, 30, 32)
		mustEqual(t, contents(t, crashed), append(slices.Clone(want), more...))
		left, _ := filepath.Glob(filepath.Join(crashed, ".*"))
		if len(left) > 0 {
			t.Errorf("crash %d: %v is left over", i, left)
		}
	}
}

func TestOpen_Refuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"missing segment": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "segment-0000000001"), filepath.Join(dir, "segment-0000000003"))
		}, "segment-0000000001 is missing"},
		"torn segment before the last": {func(dir string) error {
			second := append([]byte(magic), 0)
			return errors.Join(os.WriteFile(filepath.Join(dir, "segment-0000000002"), second, 0o600),
				os.Truncate(filepath.Join(dir, "segment-0000000001"), 30))
		}, "later segments exist"},
		"another kind of file": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "segment-0000000001"), []byte("REDIS0009 and so on"), 0o600)
		}, "not a journal of this version"},
		"snapshot without its end": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "segment-0000000001"), filepath.Join(dir, "snapshot-0000000001"))
		}, "end of the snapshot is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, 0, 3)
			if err := tc.spoil(dir); err != nil {
				t.Fatal(err)
			}
			_, _, err := open(t, dir, fast)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestOpen_DirectoryInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _, err := open(t, dir, fast)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, _, err := open(t, dir, fast); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("got %v, want that the directory is in use", err)
	}
}

// TestJournal_SlowDisk has no Run, which is a disk that never catches up.
func TestJournal_SlowDisk(t *testing.T) {
	t.Parallel()
	j, _, err := open(t, t.TempDir(), Options{MaxLag: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Admit(context.Background()); err != nil {
		t.Fatalf("nothing appended: %v", err)
	}
	if err := j.Append(batchOf(1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := j.Admit(ctx); err == nil {
		t.Error("a write was admitted though the disk is behind")
	}
	admitted := make(chan error, 1)
	go func() { admitted <- j.Admit(context.Background()) }()
	stop := running(t, j)
	if err := <-admitted; err != nil {
		t.Errorf("after the disk caught up: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func FuzzReader(f *testing.F) {
	buf := []byte(magic)
	for i := range 3 {
		buf, _ = appendRecord(buf, batchOf(i))
	}
	f.Add(buf)
	f.Add(buf[:len(buf)-3])
	f.Add([]byte(magic + "\x05\x00\x00\x00"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "fuzz")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var got recorder
		end, err := loadFile(path, got.apply)
		if end > int64(len(data)) || (err == nil && end != int64(len(data))) {
			t.Fatalf("end %d of %d bytes, error %v", end, len(data), err)
		}
		if end < int64(len(magic)) {
			return
		}
		// What was read is all there is in the good part, and reads the same again.
		if err := os.WriteFile(path, data[:end], 0o600); err != nil {
			t.Fatal(err)
		}
		var again recorder
		if _, err := loadFile(path, again.apply); err != nil {
			t.Fatalf("good part: %v", err)
		}
		mustEqual(t, again.batches, got.batches)
	})
}

// FuzzPayload gets past the checksums, which a fuzzer will not.
func FuzzPayload(f *testing.F) {
	f.Add(appendPayload(nil, batchOf(1)))
	f.Add([]byte{1, 0, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, data []byte) {
		batch, err := decodePayload(data)
		if err != nil {
			return
		}
		again, err := decodePayload(appendPayload(nil, batch))
		if err != nil || !reflect.DeepEqual(again, batch) {
			t.Fatalf("%v reads back as %v, %v", batch, again, err)
		}
	})
}
