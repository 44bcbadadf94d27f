package image

import (
	"cmp"
	"errors"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// tally adds up what has come.
type tally struct {
	see func(Copied)

	mu     sync.Mutex
	now    Copied
	failed error // of the registry that the layers come from
}

func (t *tally) add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Bytes += n
	t.see(t.now)
}

func (t *tally) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = err
}

// cause returns why an upload failed: what it had to read, if that failed, and not what the
// cluster's registry says to half of a layer.
func (t *tally) cause(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return cmp.Or(t.failed, err)
}

// talliedLayer tells what has come of it, and takes that back if it was not all.
type talliedLayer struct {
	v1.Layer
	tally *tally
}

func (l *talliedLayer) Compressed() (io.ReadCloser, error) {
	r, err := l.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	return &talliedReader{ReadCloser: r, tally: l.tally}, nil
}

type talliedReader struct {
	io.ReadCloser
	tally *tally
	read  int64
	whole bool
}

func (r *talliedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.read += int64(n)
	r.tally.add(int64(n))
	switch {
	case errors.Is(err, io.EOF):
		r.whole = true
	case err != nil:
		r.tally.fail(err)
	}
	return n, err
}

func (r *talliedReader) Close() error {
	if !r.whole {
		r.tally.add(-r.read)
	}
	return r.ReadCloser.Close()
}
