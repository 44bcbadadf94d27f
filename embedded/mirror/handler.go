package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
)

var (
	blobPath     = regexp.MustCompile(`^/v2/([a-z0-9._/-]+)/blobs/([^/]+)$`)
	manifestPath = regexp.MustCompile(`^/v2/([a-z0-9._/-]+)/manifests/([^/]+)$`)
)

func (m *Mirror) serve(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		writeError(w, http.StatusForbidden, "DENIED",
			"this node's registry is read-only; push on the manager "+m.opts.Manager())
		return
	}
	path := req.URL.Path
	if path == "/v2" || path == "/v2/" {
		// Docker asks before each pull; what is in the cache must come with the
		// manager away.
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
		return
	}
	if f := blobPath.FindStringSubmatch(path); f != nil {
		m.withDigest(w, req, f[1], f[2], m.serveBlob)
		return
	}
	f := manifestPath.FindStringSubmatch(path)
	switch {
	case f == nil:
		m.relay(w, req) // lists
	case strings.Contains(f[2], ":"):
		m.withDigest(w, req, f[1], f[2], m.serveManifest)
	default:
		m.serveTag(w, req)
	}
}

type digestHandler func(w http.ResponseWriter, req *http.Request, repo string, d digest.Digest)

func (m *Mirror) withDigest(w http.ResponseWriter, req *http.Request, repo, s string, h digestHandler) {
	d, err := digest.Parse(s)
	if err != nil {
		writeError(w, http.StatusBadRequest, "DIGEST_INVALID", fmt.Sprintf("%q is not a digest: %v", s, err))
		return
	}
	h(w, req, repo, d)
}

// fail answers for a request that did not begin to answer yet.
func (m *Mirror) fail(w http.ResponseWriter, req *http.Request, err error) {
	status, ok := errors.AsType[*statusError](err)
	switch {
	case ok && status.status == http.StatusForbidden:
		// It is about this node, and not in the words of the registry API.
		writeError(w, http.StatusForbidden, "DENIED",
			"the registry on "+m.opts.Manager()+" refuses this node; see `crawlbox status` on it")
		return
	case ok:
		copyHeader(w.Header(), status.header)
		w.WriteHeader(status.status)
		_, _ = w.Write(status.body)
		return
	}
	if req.Context().Err() != nil {
		return // nobody is there to read it
	}
	m.log.Warn("mirror failed to answer", "path", req.URL.Path, "err", err)
	// Not 503: Docker shows people the message of a 4xx only. The code makes it
	// try again all the same.
	writeError(w, http.StatusFailedDependency, "UNAVAILABLE", fmt.Sprintf(
		"cannot get this from the registry on %s: %v; see there that crawlbox runs and that this node reaches it",
		m.opts.Manager(), err))
}

// passedOn lists the headers of the upstream that a client gets.
var passedOn = []string{
	"Content-Type", "Content-Length", "Docker-Content-Digest", "Etag", "Link", "Retry-After", "Accept-Ranges",
	"Content-Range",
}

func copyHeader(to, from http.Header) {
	for _, name := range passedOn {
		if v := from.Values(name); len(v) > 0 {
			to[http.CanonicalHeaderKey(name)] = v
		}
	}
}

// writeError answers with the error body of the registry API.
func writeError(w http.ResponseWriter, status int, code, message string) {
	type apiError struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string][]apiError{"errors": {{code, message}}})
}

// ask sends a client's request to the upstream.
func (m *Mirror) ask(req *http.Request) (*http.Response, error) {
	header := make(http.Header)
	for _, name := range []string{"Accept", "If-None-Match", "If-Range", "Range"} {
		if v := req.Header.Values(name); len(v) > 0 {
			header[name] = v
		}
	}
	return m.up.do(req.Context(), req.Method, req.URL.RequestURI(), header)
}

// relay asks the upstream and passes its answer on.
func (m *Mirror) relay(w http.ResponseWriter, req *http.Request) {
	resp, err := m.ask(req)
	if err != nil {
		m.fail(w, req, err)
		return
	}
	defer resp.Body.Close()
	copyHeader(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// Kept serves to other nodes what is on disk, by its digest, and asks nobody for
// the rest. They come here while they cannot reach the manager.
func (m *Mirror) Kept() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			writeError(w, http.StatusForbidden, "DENIED", "this node's registry is read-only")
			return
		}
		if f := blobPath.FindStringSubmatch(req.URL.Path); f != nil {
			if d, err := digest.Parse(f[2]); err == nil && m.serveKept(w, req, cache.Blob(d)) {
				return
			}
		} else if f := manifestPath.FindStringSubmatch(req.URL.Path); f != nil {
			if d, err := digest.Parse(f[2]); err == nil {
				if mf, ok := keptManifest(m.cache, d); ok {
					writeManifest(&counted{ResponseWriter: w, add: m.fromCache}, req, mf, d)
					return
				}
			}
		}
		writeError(w, http.StatusNotFound, "BLOB_UNKNOWN", "this node does not have it")
	})
}

// counted is an answer whose bytes are counted as they go.
type counted struct {
	http.ResponseWriter
	add func(bytes int64)
}

// Unwrap implements what http.ResponseController looks for.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.add(int64(n))
	return n, err
}

// ReadFrom implements io.ReaderFrom, by which the kernel sends a file itself.
func (c *counted) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.add(n)
	return n, err
}

func (m *Mirror) fromCache(bytes int64) { m.count(func(s *Stats) { s.FromCache += bytes }) }
