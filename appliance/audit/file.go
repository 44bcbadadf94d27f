package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// file is a file that is set aside when it is full.
type file struct {
	path string
	max  int64 // bytes
	keep int   // old files

	f    *os.File // nil: it could not be opened anew
	size int64
	torn bool // the last line has no end: a crash, or a full disk
}

func openFile(path string, limit int64, keep int) (*file, error) {
	f := &file{path: path, max: limit, keep: keep}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return f, f.open()
}

func (f *file) open() error {
	h, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	info, err := h.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.path)
	}
	if err == nil {
		err = h.Chmod(0o600)
	}
	if err != nil {
		return errors.Join(err, h.Close())
	}
	f.f, f.size = h, info.Size()
	f.torn = !endsLine(h, f.size)
	return nil
}

func endsLine(h *os.File, size int64) bool {
	if size == 0 {
		return true
	}
	last := make([]byte, 1)
	_, err := h.ReadAt(last, size-1)
	return err == nil && last[0] == '\n'
}

// write appends a line. A kill in the middle tears no other line than this one.
func (f *file) write(line []byte) error {
	if f.torn {
		line = append([]byte{'\n'}, line...)
	}
	if f.f == nil || f.size > 0 && f.size+int64(len(line)) > f.max {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	n, err := f.f.Write(line)
	f.size += int64(n)
	if n > 0 {
		f.torn = n < len(line)
	}
	return err
}

// rotate sets the full file aside. The old ones move up to the first number that
// is free: when a kill left a gap among them the next time closes it, and no
// more than the oldest is lost.
func (f *file) rotate() error {
	f.close()
	if info, err := os.Lstat(f.path); err == nil && info.Size() > 0 {
		if err := f.shift(); err != nil {
			return errors.Join(err, f.open()) // rather a file that is too large
		}
	}
	return f.open()
}

func (f *file) shift() error {
	free := 1
	for ; free < f.keep; free++ {
		if _, err := os.Lstat(f.old(free)); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	for ; free > 0; free-- {
		if err := os.Rename(f.old(free-1), f.old(free)); err != nil {
			return err
		}
	}
	return nil
}

// old returns the name of the n-th file back; 0 is the one that is written.
func (f *file) old(n int) string {
	if n == 0 {
		return f.path
	}
	return fmt.Sprintf("%s.%d", f.path, n)
}

func (f *file) close() {
	if f.f != nil {
		_ = f.f.Close()
		f.f = nil
	}
}
