package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockPatience is how long another process that has the directory is waited for.
const lockPatience = time.Second

const (
	snapshotPrefix = "snapshot-"
	segmentPrefix  = "segment-"
)

// directory is the list of the files that make up the state.
type directory struct {
	dir      string
	snapshot uint64   // 0: none
	segments []uint64 // ascending, without a gap, all above snapshot
}

func (f *directory) snapshotPath(n uint64) string { return numbered(f.dir, snapshotPrefix, n) }
func (f *directory) segmentPath(n uint64) string  { return numbered(f.dir, segmentPrefix, n) }

func numbered(dir, prefix string, n uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%010d", prefix, n))
}

// scanDirectory finds the files that count and deletes what a crash in the middle
// of a rewrite left behind.
func scanDirectory(dir string) (*directory, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	f := &directory{dir: dir}
	var snapshots, segments []uint64
	for _, entry := range entries {
		switch n, prefix := parseName(entry.Name()); prefix {
		case snapshotPrefix:
			snapshots = append(snapshots, n)
			f.snapshot = max(f.snapshot, n)
		case segmentPrefix:
			segments = append(segments, n)
		}
	}
	slices.Sort(segments)
	f.segments = slices.DeleteFunc(slices.Clone(segments), func(n uint64) bool { return n <= f.snapshot })
	if err := f.checkGaps(); err != nil {
		return nil, err
	}
	return f, f.clean(entries, snapshots, segments)
}

func parseName(name string) (uint64, string) {
	for _, prefix := range []string{snapshotPrefix, segmentPrefix} {
		var n uint64
		digits, ok := strings.CutPrefix(name, prefix)
		if !ok || len(digits) != 10 {
			continue
		}
		if _, err := fmt.Sscanf(digits, "%d", &n); err == nil && n > 0 {
			return n, prefix
		}
	}
	return 0, ""
}

func (f *directory) checkGaps() error {
	for i, n := range f.segments {
		if want := f.snapshot + 1 + uint64(i); n != want {
			return fmt.Errorf("%s is missing though later segments are there: restore the directory from a backup",
				f.segmentPath(want))
		}
	}
	return nil
}

func (f *directory) clean(entries []os.DirEntry, snapshots, segments []uint64) error {
	var errs []error
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "."+snapshotPrefix) {
			errs = append(errs, os.Remove(filepath.Join(f.dir, entry.Name())))
		}
	}
	for _, n := range snapshots {
		if n < f.snapshot {
			errs = append(errs, os.Remove(f.snapshotPath(n)))
		}
	}
	for _, n := range segments {
		if n <= f.snapshot {
			errs = append(errs, os.Remove(f.segmentPath(n)))
		}
	}
	return errors.Join(errs...)
}

// load applies the snapshot and the segments. It returns the length of the good
// part of the last segment, 0 when its head is cut off.
func (f *directory) load(apply func([]Command) error) (int64, error) {
	if f.snapshot > 0 {
		if err := loadSnapshot(f.snapshotPath(f.snapshot), apply); err != nil {
			return 0, err
		}
	}
	var end int64
	for i, n := range f.segments {
		var err error
		end, err = loadFile(f.segmentPath(n), apply)
		if errors.Is(err, errTorn) && i == len(f.segments)-1 {
			return end, nil
		}
		if errors.Is(err, errTorn) {
			return end, &CorruptError{
				File:   f.segmentPath(n),
				Offset: end,
				Reason: "record is cut off, and later segments exist",
			}
		}
		if err != nil {
			return end, err
		}
	}
	return end, nil
}

// loadSnapshot wants the mark at the end: a snapshot is complete or it is
// damaged.
func loadSnapshot(path string, apply func([]Command) error) error {
	complete := false
	end, err := loadFile(path, func(batch []Command) error {
		complete = len(batch) == 0
		return apply(batch)
	})
	if errors.Is(err, errTorn) || (err == nil && !complete) {
		return &CorruptError{File: path, Offset: end, Reason: "end of the snapshot is missing"}
	}
	return err
}

// loadFile applies every record and returns the offset behind the last good one.
func loadFile(path string, apply func([]Command) error) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	r, err := newReader(file)
	if err != nil {
		return 0, err
	}
	for {
		start := r.offset
		batch, err := r.next()
		if errors.Is(err, io.EOF) {
			return r.offset, nil
		}
		if err != nil {
			return r.offset, err
		}
		if err := apply(batch); err != nil {
			return start, fmt.Errorf("replay %s at byte %d: %w", path, start, err)
		}
	}
}

// lockDirectory keeps a second process out of the directory. The kernel lets go of
// the lock when the process ends, however it ends.
func lockDirectory(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// A process that is just ending, or a child that somebody is just starting, which has
	// the file for a moment, is waited for.
	err = unix.EWOULDBLOCK
	for until := time.Now().Add(lockPatience); err != nil && time.Now().Before(until); {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("directory %s is in use by another process: stop it, or choose another directory", dir)
	}
	return f, nil
}
