package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

const (
	// maxError bounds the body of an error that is passed on.
	maxError = 64 << 10
	// maxManifest is the limit that registries have for manifests.
	maxManifest = 4 << 20
	// maxTypeLine bounds the line before a manifest in its file.
	maxTypeLine = 4 << 10
)

var errStalled = errors.New("the upstream sends nothing")

// statusError is an answer of the upstream other than success.
type statusError struct {
	status int
	header http.Header
	body   []byte
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the upstream answers %d %s", e.status, http.StatusText(e.status))
}

// final reports whether asking again is pointless.
func (e *statusError) final() bool {
	return e.status < 500 && e.status != http.StatusTooManyRequests && e.status != http.StatusRequestTimeout
}

// upstream asks a Source and does not wait for ever.
type upstream struct {
	source Source
	stall  time.Duration

	// Bytes got from the registry itself, and from nodes that stood in for it.
	fromManager, fromNodes atomic.Int64
}

// do sends a request. Statuses below 400 are success, the others a
// *statusError. The body fails with errStalled when nothing comes for too long.
func (u *upstream) do(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	silence := clock.NewSilence(u.stall, func() { cancel(errStalled) })
	stop := func() { silence.Stop(); cancel(nil) }
	resp, standIn, err := u.source.Open(ctx, method, path, header)
	if err != nil {
		stop()
		return nil, causeOf(ctx, err)
	}
	silence.Stop()
	got := &u.fromManager
	if standIn {
		got = &u.fromNodes
	}
	resp.Body = &watchedBody{
		ReadCloser: resp.Body,
		ctx:        ctx,
		silence:    silence,
		stop:       stop,
		got:        got,
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	defer resp.Body.Close()
	body, err := bound.ReadAll(resp.Body, maxError)
	if err != nil && !errors.Is(err, bound.ErrTooLong) {
		return nil, err
	}
	return nil, &statusError{status: resp.StatusCode, header: resp.Header, body: body}
}

// causeOf replaces "context canceled" by why we cancelled.
func causeOf(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// watchedBody ends a body that stalls.
type watchedBody struct {
	io.ReadCloser
	ctx     context.Context
	silence *clock.Silence
	stop    func()
	got     *atomic.Int64
}

func (b *watchedBody) Read(p []byte) (int, error) {
	// The clock runs only while we wait: our own reader may be slow.
	b.silence.Heard()
	n, err := b.ReadCloser.Read(p)
	b.silence.Stop()
	b.got.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		err = causeOf(b.ctx, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.stop()
	return b.ReadCloser.Close()
}

// blob is a fetcher for one path of the upstream.
type blob struct {
	up   *upstream
	path string
}

func (b blob) open(ctx context.Context, offset int64) (io.ReadCloser, int64, error) {
	header := make(http.Header)
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := b.up.do(ctx, http.MethodGet, b.path, header)
	if err != nil {
		return nil, 0, err
	}
	size, err := locate(resp, offset)
	if err != nil {
		resp.Body.Close()
		return nil, 0, err
	}
	return resp.Body, size, nil
}

// locate brings the body of resp to offset and returns the size of the whole.
func locate(resp *http.Response, offset int64) (int64, error) {
	switch {
	case resp.StatusCode == http.StatusPartialContent:
		return parseContentRange(resp.Header.Get("Content-Range"), offset)
	case resp.StatusCode != http.StatusOK:
		return 0, fmt.Errorf("the upstream answers %s to a GET", resp.Status)
	case resp.ContentLength < 0:
		return 0, errors.New("the upstream does not say how long the blob is")
	case offset > 0: // it does not know ranges
		if _, err := io.CopyN(io.Discard, resp.Body, offset); err != nil {
			return 0, err
		}
	}
	return resp.ContentLength, nil
}

func parseContentRange(s string, offset int64) (int64, error) {
	rest, ok := strings.CutPrefix(s, fmt.Sprintf("bytes %d-", offset))
	_, total, found := strings.Cut(rest, "/")
	size, err := strconv.ParseInt(total, 10, 64)
	if !ok || !found || err != nil || size < offset {
		return 0, fmt.Errorf("the upstream answers range %q to bytes %d-", s, offset)
	}
	return size, nil
}
