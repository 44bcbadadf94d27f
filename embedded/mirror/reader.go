package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// reader is one client's view of a download, as http.ServeContent wants it.
// Where the download finds no room on the disk, the reader goes on with a stream
// of its own.
type reader struct {
	ctx    context.Context
	d      *download
	size   int64
	offset int64
	stream func(offset int64) *resumer // makes the stream of its own
	rest   io.Reader                   // that stream, once it is needed
	closer io.Closer
	err    error // what ended it, io.EOF apart
}

func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	if offset != r.offset {
		r.closeRest()
	}
	r.offset = offset
	return offset, nil
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.read(p)
	r.offset += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func (r *reader) read(p []byte) (int, error) {
	if r.rest != nil {
		return r.rest.Read(p)
	}
	if r.offset >= r.size && r.size > 0 {
		return 0, io.EOF
	}
	n, err := r.d.readAt(r.ctx, p, r.offset)
	if !errors.Is(err, errNotKept) {
		return n, err
	}
	if err := r.openRest(); err != nil {
		return 0, err
	}
	return r.rest.Read(p)
}

// openRest begins the stream at the offset. It is checked like a download if
// the bytes before it are on disk; else it is a part, which nobody can check.
func (r *reader) openRest() error {
	src := r.stream(r.offset)
	if err := src.start(); err != nil {
		return err
	}
	r.closer, r.rest = src, src
	if src.size != r.size {
		return fmt.Errorf("the size changed from %d to %d bytes", r.size, src.size)
	}
	before, ok := r.d.prefix(r.offset)
	if !ok {
		return nil
	}
	v := &verified{Reader: src, verifier: r.d.key.Digest.Verifier(), left: r.size - r.offset}
	if _, err := io.Copy(v.verifier, before); err != nil {
		return err
	}
	r.rest = v
	return nil
}

func (r *reader) closeRest() {
	if r.closer != nil {
		r.closer.Close()
	}
	r.rest, r.closer = nil, nil
}
