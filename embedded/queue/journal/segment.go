package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// segment is the file that is written now.
type segment struct {
	file   *os.File
	number uint64
	synced int64 // bytes that are on disk for good
}

// createSegment makes a new, empty segment whose name is on disk.
func createSegment(path string, number uint64) (*segment, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	s := &segment{file: file, number: number}
	err = s.append([]byte(magic))
	if err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	return s, nil
}

// openSegment opens a segment to go on behind its first end bytes and cuts off
// the rest.
func openSegment(path string, number uint64, end int64) (*segment, error) {
	if end == 0 {
		return createSegment(path, number)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Truncate(end); err != nil {
		return nil, errors.Join(fmt.Errorf("cut off the torn end: %w", err), file.Close())
	}
	return &segment{file: file, number: number, synced: end}, nil
}

// append writes p and syncs. After an error the file is as before, or will be
// overwritten from the same place by the next append.
func (s *segment) append(p []byte) error {
	_, err := s.file.WriteAt(p, s.synced)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return errors.Join(err, s.file.Truncate(s.synced))
	}
	s.synced += int64(len(p))
	return nil
}
