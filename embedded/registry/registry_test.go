package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gcr "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/embedded/registry/archive"
	"github.com/crawlbox/crawlbox/embedded/registry/collect"
	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, serveForEver(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m,
		// One for each NewApp; distribution has no way to stop it.
		goleak.IgnoreTopFunction("github.com/docker/go-events.(*Broadcaster).run"))
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// host is a registry behind an HTTP server.
type host struct {
	*Registry
	t    testing.TB
	addr string
	srv  *httptest.Server
}

func start(t testing.TB, o Options) *host {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.MinFree == 0 {
		o.MinFree = -1
	}
	r, err := Open(t.Context(), o, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r.Handler())
	h := &host{Registry: r, t: t, srv: srv, addr: srv.Listener.Addr().String()}
	t.Cleanup(h.stop)
	return h
}

func (h *host) stop() {
	if h.srv == nil {
		return
	}
	h.srv.Close()
	h.srv = nil
	if err := h.Close(); err != nil {
		h.t.Error(err)
	}
}

func (h *host) ref(s string) gcr.Reference {
	h.t.Helper()
	ref, err := gcr.ParseReference(h.addr+"/"+s, gcr.Insecure)
	if err != nil {
		h.t.Fatal(err)
	}
	return ref
}

func (h *host) push(ref string, img v1.Image) digest.Digest {
	h.t.Helper()
	if err := remote.Write(h.ref(ref), img, remote.WithTransport(noKeepAlive())); err != nil {
		h.t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		h.t.Fatal(err)
	}
	return digest.Digest(d.String())
}

// pull reads the whole image and checks every digest in it.
func (h *host) pull(ref string) error {
	img, err := remote.Image(h.ref(ref), remote.WithTransport(noKeepAlive()))
	if err != nil {
		return err
	}
	if _, err := img.RawConfigFile(); err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		rc, err := l.Compressed() // checks the digest as it is read
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, rc); err != nil {
			return err
		}
		rc.Close()
	}
	return nil
}

func (h *host) mustPull(ref string) {
	h.t.Helper()
	if err := h.pull(ref); err != nil {
		h.t.Errorf("pull %s: %v", ref, err)
	}
}

func (h *host) gc(keep ...digest.Digest) collect.Report {
	h.t.Helper()
	report, err := h.GC(h.t.Context(), keep)
	if err != nil {
		h.t.Fatal(err)
	}
	return report
}

func (h *host) do(method, path string, body io.Reader, header ...string) *http.Response {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.addr+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := noKeepAlive().RoundTrip(req)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// noKeepAlive makes a transport that leaves no connection behind.
func noKeepAlive() http.RoundTripper {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.DisableKeepAlives = true
	return tr
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.Logf("%s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

func image(t testing.TB, layers int64) v1.Image {
	t.Helper()
	img, err := random.Image(2048, layers)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPushPull(t *testing.T) {
	h := start(t, Options{})
	img := image(t, 3)
	want := h.push("team/spider:0.01", img)
	h.mustPull("team/spider:0.01")

	for _, ref := range []string{
		"team/spider:0.01", "localhost:8003/team/spider:0.01", "team/spider@" + want.String(),
	} {
		if got, err := h.Digest(t.Context(), ref); err != nil || got != want {
			t.Errorf("Digest(%s) = %s, %v; want %s", ref, got, err, want)
		}
	}
	images, err := h.Images(t.Context())
	if err != nil || len(images) != 1 {
		t.Fatalf("Images = %v, %v", images, err)
	}
	got := images[0]
	if got.Name() != "team/spider:0.01" || got.Digest != want || time.Since(got.Pushed) > time.Minute {
		t.Errorf("image = %+v", got)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	size := m.Config.Size
	for _, l := range m.Layers {
		size += l.Size
	}
	if got.Size != size {
		t.Errorf("size = %d, want %d", got.Size, size)
	}
}

func TestImages_IndexCountsChildren(t *testing.T) {
	h := start(t, Options{})
	idx, err := random.Index(1024, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(h.ref("multi:1"), idx, remote.WithTransport(noKeepAlive())); err != nil {
		t.Fatal(err)
	}
	images, err := h.Images(t.Context())
	if err != nil || len(images) != 1 {
		t.Fatalf("Images = %v, %v", images, err)
	}
	if images[0].Size < 3*2*1024 {
		t.Errorf("size = %d, less than its layers", images[0].Size)
	}
}

// TestImages_NamedOften has indexes name one image, and each other, a thousand times: what is beneath is looked at
// once.
func TestImages_NamedOften(t *testing.T) {
	h := start(t, Options{})
	d := h.push("often:0", image(t, 1))
	size, kind := 0, "application/vnd.oci.image."
	if raw, err := h.Content(d); err != nil {
		t.Fatal(err)
	} else {
		size = len(raw)
	}
	desc, err := remote.Get(h.ref("often:0"))
	if err != nil {
		t.Fatal(err)
	}
	named := string(desc.MediaType)
	for range 3 {
		child := fmt.Sprintf(`{"mediaType":"%s","size":%d,"digest":"%s"}`, named, size, d)
		index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%sindex.v1+json","manifests":[%s]}`, kind,
			strings.TrimSuffix(strings.Repeat(child+",", 1000), ","))
		d, size, named = digest.FromString(index), len(index), kind+"index.v1+json"
		resp := h.do(http.MethodPut, "/v2/often/manifests/1", strings.NewReader(index), "Content-Type", named)
		if resp.StatusCode != http.StatusCreated {
			t.Fatal(resp.Status)
		}
	}
	looked := make(chan []Image, 1)
	go func() {
		images, err := h.Images(context.Background())
		if err != nil {
			t.Error(err)
		}
		if !archive.Has(h.layout.Root, archive.Image{Repository: "often", Digest: d}) {
			t.Error("it is not whole")
		}
		looked <- images
	}()
	select {
	case images := <-looked:
		if len(images) != 2 || images[0].Size != images[1].Size || images[0].Size == 0 {
			t.Errorf("Images = %v", images)
		}
	case <-time.After(time.Minute):
		t.Fatal("it is still looked at after a minute")
	}
	content, err := h.Content(d)
	if err != nil {
		t.Fatal(err)
	}
	if parts, err := PartsOf(content); err != nil || len(parts) != 1 {
		t.Errorf("%d parts, %v; want the one that is named", len(parts), err)
	}
}

func TestRestartKeepsAll(t *testing.T) {
	dir := t.TempDir()
	h := start(t, Options{Dir: dir})
	h.push("spider:0.01", image(t, 2))
	secret, err := os.ReadFile(filepath.Join(dir, secretFile))
	if err != nil {
		t.Fatal(err)
	}
	upload := h.do(http.MethodPost, "/v2/spider/blobs/uploads/", nil).Header.Get("Location")
	h.stop()

	h = start(t, Options{Dir: dir})
	h.mustPull("spider:0.01")
	again, err := os.ReadFile(filepath.Join(dir, secretFile))
	if err != nil || !bytes.Equal(secret, again) {
		t.Errorf("secret changed: %v", err)
	}
	if fi, _ := os.Stat(filepath.Join(dir, secretFile)); fi.Mode().Perm() != 0o600 {
		t.Errorf("secret has mode %v", fi.Mode())
	}
	if resp := h.do(http.MethodPatch, upload, strings.NewReader("layer")); resp.StatusCode != http.StatusAccepted {
		t.Errorf("upload begun before the restart: %s", resp.Status)
	}
}

func TestOpen_DirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	start(t, Options{Dir: dir})
	if _, err := Open(t.Context(), Options{Dir: dir}, testLog(t)); !errors.Is(err, ErrInUse) {
		t.Errorf("second Open: %v", err)
	}
}

func TestOpen_RemovesWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	h := start(t, Options{Dir: dir})
	d := h.push("spider:0.01", image(t, 1))
	h.stop()

	// A PUT of 0.02 that was killed between its two links, and a write that was
	// killed before its rename.
	half := filepath.Join(dir, layout.TagDir("spider", "0.02"), "index/sha256", d.Encoded())
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(half, "link.123.tmp")
	for _, p := range []string{tmp, filepath.Join(half, "link")} {
		if err := os.WriteFile(p, []byte(d), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var left []string
	for _, name := range []string{"data.123.tmp", ".data123"} {
		tmp := filepath.Join(dir, layout.BlobDir(d), name)
		if err := os.WriteFile(tmp, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		left = append(left, tmp)
	}

	h = start(t, Options{Dir: dir})
	h.mustPull("spider:0.01")
	if tags := h.tagList("spider"); !slices.Equal(tags, []string{"0.01"}) {
		t.Errorf("tags = %v", tags)
	}
	for _, tmp := range left {
		if _, err := os.Stat(tmp); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("temporary file %s is still there: %v", tmp, err)
		}
	}
}

func (h *host) tagList(repo string) []string {
	h.t.Helper()
	var list struct{ Tags []string }
	if err := json.NewDecoder(h.do(http.MethodGet, "/v2/"+repo+"/tags/list", nil).Body).Decode(&list); err != nil {
		h.t.Fatal(err)
	}
	return list.Tags
}

func TestRemove(t *testing.T) {
	h := start(t, Options{})
	img := image(t, 1)
	h.push("spider:0.01", img)
	h.push("spider:0.02", img)
	if err := h.Remove(t.Context(), "localhost:8003/spider:0.01"); err != nil {
		t.Fatal(err)
	}
	h.mustPull("spider:0.02")
	if err := h.pull("spider:0.01"); err == nil {
		t.Error("the removed tag is still there")
	}

	for ref, want := range map[string]struct {
		err  error
		text string
	}{
		"spider:0.03":  {ErrUnknownImage, "spider:0.02"},
		"spidr:0.02":   {ErrUnknownImage, "spider:0.02"},
		"other:1":      {ErrUnknownImage, "crawlbox images"},
		"Spider:0.02":  {ErrBadName, "spider:0.01"},
		"../../etc:1":  {ErrBadName, "../../etc"},
		"spider:../..": {ErrBadName, ""},
		"":             {ErrBadName, ""},
	} {
		err := h.Remove(t.Context(), ref)
		if !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("Remove(%q) = %v; want %v with %q", ref, err, want.err, want.text)
		}
	}
}

func TestReadOnly(t *testing.T) {
	h := start(t, Options{})
	h.push("spider:0.01", image(t, 1))
	srv := httptest.NewServer(ReadOnly(h.Handler()))
	defer srv.Close()
	ro := &host{Registry: h.Registry, t: t, addr: srv.Listener.Addr().String()}

	ro.mustPull("spider:0.01")
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		resp := ro.do(method, "/v2/spider/manifests/0.01", strings.NewReader("{}"))
		if code := errorCode(t, resp); resp.StatusCode != http.StatusForbidden || code != "DENIED" {
			t.Errorf("%s: %s %s", method, resp.Status, code)
		}
	}
	h.mustPull("spider:0.01")
}

func errorCode(t testing.TB, resp *http.Response) string {
	t.Helper()
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || len(body.Errors) == 0 {
		t.Fatalf("%s without an error body: %v", resp.Status, err)
	}
	return body.Errors[0].Code
}

func TestAPI(t *testing.T) {
	h := start(t, Options{})
	img := image(t, 1)
	h.push("a/spider:0.01", img)
	h.push("spider:0.02", img)

	var catalog struct{ Repositories []string }
	if err := json.NewDecoder(h.do(http.MethodGet, "/v2/_catalog", nil).Body).Decode(&catalog); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(catalog.Repositories, []string{"a/spider", "spider"}) {
		t.Errorf("catalog = %v", catalog.Repositories)
	}
	if tags := h.tagList("spider"); !slices.Equal(tags, []string{"0.02"}) {
		t.Errorf("tags = %v", tags)
	}

	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := layers[0].Digest()
	rc, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	data, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	resp := h.do(http.MethodGet, "/v2/spider/blobs/"+d.String(), nil, "Range", "bytes=100-")
	part, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusPartialContent || !bytes.Equal(part, data[100:]) {
		t.Errorf("range: %s, %d bytes, %v", resp.Status, len(part), err)
	}

	none := digest.FromString("none").String()
	for path, want := range map[string]string{
		"/v2/spider/manifests/none":         "MANIFEST_UNKNOWN",
		"/v2/spider/manifests/" + none:      "MANIFEST_UNKNOWN",
		"/v2/spider/blobs/" + none:          "BLOB_UNKNOWN",
		"/v2/other/blobs/" + d.String():     "BLOB_UNKNOWN",
		"/v2/other/tags/list":               "NAME_UNKNOWN",
		"/v2/spider/manifests/sha256:short": "DIGEST_INVALID",
	} {
		if code := errorCode(t, h.do(http.MethodGet, path, nil)); code != want {
			t.Errorf("GET %s: %s, want %s", path, code, want)
		}
	}
}

// TestUploaded is told of each blob once, when it is there.
func TestUploaded(t *testing.T) {
	var mu sync.Mutex
	var told []string
	var h *host
	h = start(t, Options{Uploaded: func(d digest.Digest) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, d.String())
		if b, err := h.OpenBlob(d); err != nil {
			t.Error(err)
		} else {
			b.Close()
		}
	}})
	img := image(t, 2)
	h.push("spider:0.01", img)
	h.push("spider:0.02", img) // has all already
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		manifest.Config.Digest.String(), manifest.Layers[0].Digest.String(), manifest.Layers[1].Digest.String(),
	}

	upload := h.do(http.MethodPost, "/v2/spider/blobs/uploads/", nil).Header.Get("Location")
	if resp := h.do(http.MethodPut, upload+"&digest="+digest.FromString("other").String(),
		strings.NewReader("blob")); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a wrong digest: %s", resp.Status)
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(told)
	slices.Sort(want)
	if !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}

func TestOpen_CancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Options{Dir: t.TempDir()}, testLog(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v", err)
	}
}
