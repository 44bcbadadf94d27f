package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
)

const (
	// enough is how many bytes count as getting anywhere between two failures.
	enough     = 1 << 20
	maxBackOff = 5 * time.Second
)

// fetcher supplies the bytes of a blob. open returns those from
// offset on, and the size of the whole.
type fetcher interface {
	open(ctx context.Context, offset int64) (body io.ReadCloser, size int64, err error)
}

// resumer reads a blob to its end over several attempts. Not for concurrent use.
type resumer struct {
	ctx     context.Context
	from    fetcher
	retries int
	backOff time.Duration

	body     io.ReadCloser
	size     int64
	offset   int64
	failures int   // in a row
	gained   int64 // since the last failure
}

// start opens the first body; size is valid after it.
func (r *resumer) start() error {
	for {
		body, size, err := r.from.open(r.ctx, r.offset)
		if err == nil {
			r.body, r.size = body, size
			return nil
		}
		if err := r.pause(err); err != nil {
			return err
		}
	}
}

func (r *resumer) Read(p []byte) (int, error) {
	for {
		if r.offset >= r.size {
			return 0, io.EOF
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.size-r.offset)])
		r.offset += int64(n)
		r.gained += int64(n)
		if n > 0 {
			return n, nil // an error comes again
		}
		if err == nil {
			continue
		}
		if err := r.reopen(err); err != nil {
			return 0, err
		}
	}
}

// reopen goes on after the body broke off.
func (r *resumer) reopen(broke error) error {
	if errors.Is(broke, io.EOF) {
		broke = io.ErrUnexpectedEOF
	}
	r.body.Close()
	size := r.size
	if err := r.pause(fmt.Errorf("read at byte %d of %d: %w", r.offset, size, broke)); err != nil {
		return err
	}
	if err := r.start(); err != nil {
		return err
	}
	if r.size != size {
		return fmt.Errorf("the size changed from %d to %d bytes", size, r.size)
	}
	return nil
}

// pause waits before the next attempt, or returns why there is none.
func (r *resumer) pause(err error) error {
	if r.gained >= enough {
		r.failures = 0
	}
	r.gained = 0
	r.failures++
	var status *statusError
	if r.ctx.Err() != nil || r.failures > r.retries || errors.As(err, &status) && status.final() {
		return err
	}
	if clock.Sleep(r.ctx, min(r.backOff<<(r.failures-1), maxBackOff)) != nil {
		return err
	}
	return nil
}

func (r *resumer) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}

// verified checks the digest of what is read. The last bytes come only when it
// is right: a node that got all of them has the right blob.
type verified struct {
	io.Reader
	verifier digest.Verifier
	left     int64
}

func (v *verified) Read(p []byte) (int, error) {
	if v.left == 0 {
		return 0, v.end()
	}
	n, err := v.Reader.Read(p)
	_, _ = v.verifier.Write(p[:n]) // never fails
	v.left -= int64(n)
	if v.left == 0 {
		if end := v.end(); !errors.Is(end, io.EOF) {
			return 0, end
		}
	}
	return n, err
}

func (v *verified) end() error {
	if !v.verifier.Verified() {
		return cache.ErrDigest
	}
	return io.EOF
}
