package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
)

// manifest is small enough for memory. Its file is the media type, a line feed,
// and the content; only the content is believed.
type manifest struct {
	mediaType string
	content   []byte
}

func (m *Mirror) serveManifest(w http.ResponseWriter, req *http.Request, repo string, d digest.Digest) {
	if kept, ok := keptManifest(m.cache, d); ok {
		m.count(func(s *Stats) { s.Hits++ })
		writeManifest(&counted{ResponseWriter: w, add: m.fromCache}, req, kept, d)
		return
	}
	// A HEAD too gets the content here: nothing vouches for the headers of an answer.
	mf, err := m.fetchManifest(req.Context(), repo, d, req.Header.Values("Accept"))
	if err != nil {
		m.fail(w, req, err)
		return
	}
	m.keep(d, mf)
	writeManifest(w, req, mf, d)
}

func (m *Mirror) keep(d digest.Digest, mf manifest) {
	if m.cache.Has(cache.Manifest(d)) {
		return
	}
	if err := keepManifest(m.cache, d, mf); err != nil {
		m.log.Warn("mirror failed to keep a manifest", "digest", d, "err", err)
		return
	}
	m.pins.learn(d)
}

func writeManifest(w http.ResponseWriter, req *http.Request, mf manifest, d digest.Digest) {
	if slices.ContainsFunc(req.Header.Values("If-None-Match"),
		func(tag string) bool { return strings.Trim(tag, `"`) == d.String() }) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h := w.Header()
	h.Set("Content-Type", mf.mediaType)
	h.Set("Content-Length", strconv.Itoa(len(mf.content)))
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Etag", `"`+d.String()+`"`)
	if req.Method != http.MethodHead {
		_, _ = w.Write(mf.content)
	}
}

// fetchManifest asks the upstream. Several at a time may ask for the same one:
// it is a few kilobytes, and what they accept may differ.
func (m *Mirror) fetchManifest(ctx context.Context, repo string, d digest.Digest, accept []string) (manifest, error) {
	path := "/v2/" + repo + "/manifests/" + d.String()
	resp, err := m.up.do(ctx, http.MethodGet, path, http.Header{"Accept": accept})
	if err != nil {
		return manifest{}, err
	}
	defer resp.Body.Close()
	content, err := readManifest(resp.Body, d)
	if err == nil {
		var mediaType string
		mediaType, err = MediaTypeOf(content)
		return manifest{mediaType, content}, err
	}
	if errors.Is(err, cache.ErrDigest) {
		m.log.Error("mirror received a manifest with the wrong digest", "path", path)
	}
	return manifest{}, err
}

// serveTag asks the upstream what a tag is now. The content is kept under its
// digest, for those who ask by that; the tag is not.
func (m *Mirror) serveTag(w http.ResponseWriter, req *http.Request) {
	resp, err := m.ask(req)
	if err != nil {
		m.fail(w, req, err)
		return
	}
	defer resp.Body.Close()
	var content []byte
	if req.Method == http.MethodGet && resp.StatusCode == http.StatusOK {
		d := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
		if content, err = readManifest(resp.Body, d); err != nil {
			m.fail(w, req, err)
			return
		}
		if mediaType, err := MediaTypeOf(content); err == nil {
			m.keep(digest.FromBytes(content), manifest{mediaType, content})
		}
	}
	copyHeader(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(content)
}

// readManifest reads a manifest and checks it, if d is not empty.
func readManifest(body io.Reader, d digest.Digest) ([]byte, error) {
	content, err := bound.ReadAll(body, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if d == "" {
		return content, nil
	}
	if d.Validate() != nil || !matches(d, content) {
		return nil, cache.ErrDigest
	}
	return content, nil
}

func matches(d digest.Digest, content []byte) bool {
	return d.Algorithm().FromBytes(content) == d
}

// keptManifest reads a kept manifest and checks it.
func keptManifest(c *cache.Cache, d digest.Digest) (manifest, bool) {
	f, ent, ok := c.Open(cache.Manifest(d))
	if !ok {
		return manifest{}, false
	}
	defer c.Release(ent)
	defer f.Close()
	raw, err := bound.ReadAll(f, maxManifest+maxTypeLine)
	_, content, found := bytes.Cut(raw, []byte("\n"))
	mediaType, typeErr := MediaTypeOf(content)
	if err != nil || !found || !matches(d, content) || typeErr != nil {
		c.Drop(ent)
		return manifest{}, false
	}
	return manifest{mediaType, content}, true
}

func keepManifest(c *cache.Cache, d digest.Digest, m manifest) error {
	raw := append([]byte(m.mediaType+"\n"), m.content...)
	size := int64(len(raw))
	if !c.Reserve(size) {
		return errNotKept
	}
	f, err := c.Create()
	if err != nil {
		c.Unreserve(size)
		return err
	}
	defer f.Close()
	if _, err = f.Write(raw); err == nil {
		var ent *cache.Entry
		if ent, err = c.Commit(f, cache.Manifest(d), size); err == nil {
			c.Release(ent)
			return nil
		}
	}
	os.Remove(f.Name())
	c.Unreserve(size)
	return err
}
