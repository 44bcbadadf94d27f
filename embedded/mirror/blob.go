package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

func (m *Mirror) serveBlob(w http.ResponseWriter, req *http.Request, repo string, d digest.Digest) {
	k := cache.Blob(d)
	if m.serveKept(w, req, k) {
		return
	}
	if req.Method == http.MethodHead {
		m.relay(w, req)
		return
	}
	dl := m.join(k, repo)
	if dl == nil { // kept meanwhile
		m.serveBlob(w, req, repo, d)
		return
	}
	defer dl.detach(m.cache)
	size, err := dl.wait(req.Context())
	if m.otherRepo(err, dl, repo) {
		m.serveBlob(w, req, repo, d) // that one has left the list
		return
	}
	if err != nil {
		m.fail(w, req, err)
		return
	}
	m.serveReader(w, req, &reader{
		ctx: req.Context(), d: dl, size: size,
		stream: func(offset int64) *resumer {
			m.count(func(s *Stats) { s.Streamed++ })
			return m.resumer(req.Context(), repo, d, offset)
		},
	})
}

// otherRepo reports whether the download was refused in a repository that is
// not the one asked for here.
func (m *Mirror) otherRepo(err error, dl *download, repo string) bool {
	return errors.As(err, new(*statusError)) && dl.repo != repo
}

func (m *Mirror) serveReader(w http.ResponseWriter, req *http.Request, r *reader) {
	defer r.closeRest()
	blobHeader(w.Header(), r.d.key.Digest)
	http.ServeContent(w, req, "", time.Time{}, r)
	if r.err == nil {
		return
	}
	if req.Context().Err() == nil {
		m.log.Warn("mirror broke off an answer", "path", req.URL.Path, "err", r.err)
	}
	panic(http.ErrAbortHandler) // the client must not take it for whole
}

func (m *Mirror) serveKept(w http.ResponseWriter, req *http.Request, k cache.Key) bool {
	f, ent, ok := m.cache.Open(k)
	if !ok {
		return false
	}
	defer m.cache.Release(ent)
	defer f.Close()
	m.count(func(s *Stats) { s.Hits++ })
	blobHeader(w.Header(), k.Digest)
	http.ServeContent(&counted{ResponseWriter: w, add: m.fromCache}, req, "", time.Time{}, f)
	return true
}

func blobHeader(h http.Header, d digest.Digest) {
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Etag", `"`+d.String()+`"`)
}

// join returns the download of k, begun now if there is none, with this caller
// attached to it; nil if the blob is kept.
func (m *Mirror) join(k cache.Key, repo string) *download {
	m.mu.Lock()
	defer m.mu.Unlock()
	if dl := m.downloads[k]; dl != nil && dl.attach() {
		m.stats.Shared++
		return dl
	}
	if m.cache.Has(k) {
		return nil
	}
	ctx, cancel := context.WithCancel(m.ctx)
	dl := newDownload(k, repo, m.opts.Linger, cancel)
	dl.attach()
	m.downloads[k] = dl
	m.stats.Downloads++
	m.wg.Go(func() { m.run(ctx, dl) })
	return dl
}

// run fills a download and takes it off the list. It is kept before it leaves
// the list, so that nobody begins it again in between.
func (m *Mirror) run(ctx context.Context, dl *download) {
	err := m.fill(ctx, dl)
	switch {
	case errors.Is(err, cache.ErrDigest):
		m.log.Error("mirror received a blob with the wrong digest", "repository", dl.repo, "digest", dl.key.Digest,
			"err", err)
	case errors.Is(err, errNotKept):
		m.log.Warn("mirror failed to keep a blob", "digest", dl.key.Digest, "err", err)
	}
	m.mu.Lock()
	if m.downloads[dl.key] == dl {
		delete(m.downloads, dl.key)
	}
	m.mu.Unlock()
	dl.end(err, m.cache)
}

// fill brings a blob in pieces from all that have them. What the manager does not
// cut, as it is small, or cannot cut, as it is of another version, comes whole.
func (m *Mirror) fill(ctx context.Context, dl *download) error {
	into := &sink{d: dl, cache: m.cache}
	defer into.undo()
	if m.exchange != nil {
		err := m.exchange.Fetch(ctx, dl.key.Digest, into)
		switch {
		case errors.Is(err, cut.ErrNoRoom):
			return fmt.Errorf("%w: %w", errNotKept, err)
		case err == nil, into.made(), errors.Is(err, errNotKept), ctx.Err() != nil:
			return err
		}
		m.log.Debug("a blob does not come in pieces", "digest", dl.key.Digest, "error", err)
	}
	return dl.stream(m.resumer(ctx, dl.repo, dl.key.Digest, 0), into)
}

func (m *Mirror) resumer(ctx context.Context, repo string, d digest.Digest, offset int64) *resumer {
	return &resumer{
		ctx:     ctx,
		from:    blob{up: m.up, path: "/v2/" + repo + "/blobs/" + d.String()},
		retries: m.opts.Retries,
		backOff: m.opts.BackOff,
		offset:  offset,
	}
}
