package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// errTorn says that the file ends inside a record.
var errTorn = errors.New("record is cut off")

// CorruptError says that a file is damaged at a place where a crash cannot
// have done it.
type CorruptError struct {
	File   string
	Offset int64 // bytes from the start of the file to the damaged record
	Reason string
}

func (e *CorruptError) Error() string {
	if strings.HasPrefix(filepath.Base(e.File), snapshotPrefix) { // it is whole, or of no use
		return fmt.Sprintf("%s is damaged at byte %d (%s): restore the directory from a backup, or move the "+
			"directory away to start "+
			"with an empty queue", e.File, e.Offset, e.Reason)
	}
	return fmt.Sprintf("%s is damaged at byte %d (%s): restore the directory from a backup, or keep a copy of it and "+
		"run `truncate -s %d %s` to go on without that record and what follows it in the file",
		e.File, e.Offset, e.Reason, e.Offset, e.File)
}

// reader reads the records of one file.
type reader struct {
	src    *bufio.Reader
	name   string
	size   int64
	offset int64 // start of the next record
}

// newReader checks the head of the file. It returns errTorn for a file whose
// head is cut off.
func newReader(f *os.File) (*reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r := &reader{src: bufio.NewReaderSize(f, 1<<20), name: f.Name(), size: info.Size(), offset: int64(len(magic))}
	head := make([]byte, min(r.size, int64(len(magic))))
	if _, err := io.ReadFull(r.src, head); err != nil {
		return nil, fmt.Errorf("read %s: %w", r.name, err)
	}
	if string(head) != magic[:len(head)] {
		return nil, fmt.Errorf("%s is damaged at its beginning, or not a journal of this version: restore the "+
			"directory from a backup, or move the directory away to start with an empty queue", r.name)
	}
	if len(head) < len(magic) {
		return nil, errTorn
	}
	return r, nil
}

// next returns the next batch, io.EOF at the clean end, errTorn when the rest
// of the file is a cut-off record, or a *CorruptError. After an error offset is
// the end of the last good record.
func (r *reader) next() ([]Command, error) {
	left := r.size - r.offset
	if left == 0 {
		return nil, io.EOF
	}
	if left < headerSize {
		return nil, errTorn
	}
	var header [headerSize]byte
	if _, err := io.ReadFull(r.src, header[:]); err != nil {
		return nil, fmt.Errorf("read %s at byte %d: %w", r.name, r.offset, err)
	}
	if crc32.Checksum(header[:8], castagnoli) != binary.LittleEndian.Uint32(header[8:]) {
		return nil, r.badHeader(header)
	}
	size := int64(binary.LittleEndian.Uint32(header[:]))
	if size > left-headerSize {
		return nil, errTorn
	}
	return r.body(size, binary.LittleEndian.Uint32(header[4:]))
}

func (r *reader) body(size int64, sum uint32) ([]Command, error) {
	body := make([]byte, size)
	if _, err := io.ReadFull(r.src, body); err != nil {
		return nil, fmt.Errorf("read %s at byte %d: %w", r.name, r.offset, err)
	}
	end := r.offset + headerSize + size
	if crc32.Checksum(body, castagnoli) != sum {
		if end == r.size {
			return nil, errTorn // a power cut may keep the length of a file and lose its last blocks
		}
		return nil, r.corrupt("checksum of the record does not match")
	}
	batch, err := decodePayload(body)
	if err != nil {
		return nil, r.corrupt(err.Error())
	}
	r.offset = end
	return batch, nil
}

// badHeader tells a tail of zeros, which a file system may leave after a power
// cut, from damage.
func (r *reader) badHeader(header [headerSize]byte) error {
	rest := io.MultiReader(bytes.NewReader(header[:]), r.src)
	buf := make([]byte, 32<<10)
	for {
		n, err := rest.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return r.corrupt("header of the record does not match its checksum")
			}
		}
		//lint:ignore errorlint a reader returns io.EOF as it is; one that is wrapped is a failure
		if err == io.EOF {
			return errTorn
		}
		if err != nil {
			return fmt.Errorf("read %s at byte %d: %w", r.name, r.offset, err)
		}
	}
}

func (r *reader) corrupt(reason string) error {
	return &CorruptError{File: r.name, Offset: r.offset, Reason: reason}
}
