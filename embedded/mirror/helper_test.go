package mirror

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gcr "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type testWriter struct{ testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.Logf("%s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(testWriter{t}, nil)) }

func client() *http.Client {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.DisableKeepAlives = true
	return &http.Client{Transport: tr}
}

// node is a mirror behind an HTTP server.
type node struct {
	*Mirror
	t    testing.TB
	addr string
	srv  *httptest.Server
}

// start opens a mirror of the server at base.
func start(t testing.TB, base string, o Options) *node {
	t.Helper()
	return startLogged(t, base, o, testLog(t))
}

func startLogged(t testing.TB, base string, o Options, log *slog.Logger) *node {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.MinFree == 0 {
		o.MinFree = -1
	}
	if o.BackOff == 0 {
		o.BackOff = time.Millisecond
	}
	if o.Source == nil {
		o.Source = &HTTPSource{Client: client(), Bases: func() []string { return []string{base} }}
	}
	m, err := Open(o, log)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(m.Handler())
	n := &node{Mirror: m, t: t, addr: srv.Listener.Addr().String(), srv: srv}
	t.Cleanup(n.stop)
	return n
}

func (n *node) stop() {
	if n.srv == nil {
		return
	}
	n.srv.Close()
	n.srv = nil
	if err := n.Close(); err != nil {
		n.t.Error(err)
	}
}

func (n *node) do(method, path string, header ...string) (*http.Response, []byte, error) {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), method, "http://"+n.addr+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client().Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func (n *node) get(path string, header ...string) (*http.Response, []byte) {
	n.t.Helper()
	resp, body, err := n.do(http.MethodGet, path, header...)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp, body
}

// pull reads the whole image and checks every digest in it.
func pull(addr, name string) error {
	ref, err := gcr.ParseReference(addr+"/"+name, gcr.Insecure)
	if err != nil {
		return err
	}
	img, err := remote.Image(ref, remote.WithTransport(client().Transport))
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
		_, err = io.Copy(io.Discard, rc)
		if err := errors.Join(err, rc.Close()); err != nil {
			return err
		}
	}
	return nil
}

// manager is a registry whose requests are counted and that can be away.
type manager struct {
	*httptest.Server
	requests atomic.Int64
	blobs    atomic.Int64
	away     atomic.Bool
}

func startManager(t testing.TB) *manager {
	t.Helper()
	m := new(manager)
	reg := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, 0)))
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if m.away.Load() {
			panic(http.ErrAbortHandler)
		}
		m.requests.Add(1)
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			m.blobs.Add(1)
		}
		reg.ServeHTTP(w, req)
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *manager) push(t testing.TB, name string, img v1.Image) {
	t.Helper()
	ref, err := gcr.ParseReference(m.Listener.Addr().String()+"/"+name, gcr.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithTransport(client().Transport)); err != nil {
		t.Fatal(err)
	}
}

func image(t testing.TB) (v1.Image, digest.Digest) {
	t.Helper()
	img, err := random.Image(100_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return img, digest.Digest(d.String())
}

func errorOf(t testing.TB, body []byte) (code, message string) {
	t.Helper()
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &e); err != nil || len(e.Errors) != 1 {
		t.Fatalf("not an error body: %s", body)
	}
	return e.Errors[0].Code, e.Errors[0].Message
}

// pipeline is an upstream that has one blob and does as a test says.
type pipeline struct {
	*httptest.Server
	content []byte
	digest  digest.Digest
	opened  atomic.Int64
}

func startPipeline(t testing.TB, size int,
	serve func(p *pipeline, w http.ResponseWriter, req *http.Request)) *pipeline {
	t.Helper()
	p := &pipeline{content: make([]byte, size)}
	rand.Read(p.content)
	p.digest = digest.FromBytes(p.content)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p.opened.Add(1)
		serve(p, w, req)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *pipeline) path() string { return "/v2/spider/blobs/" + p.digest.String() }

func whole(p *pipeline, w http.ResponseWriter, req *http.Request) {
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(p.content))
}

func (n *node) wantBlob(p *pipeline) {
	n.t.Helper()
	resp, body, err := n.do(http.MethodGet, p.path())
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(body, p.content) {
		n.t.Errorf("GET = %v, %d of %d bytes, %v", resp, len(body), len(p.content), err)
	}
}

// cached lists the files of the cache, those being written included.
func (n *node) cached() (files []string) {
	n.t.Helper()
	err := filepath.WalkDir(n.opts.Dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return files
}

func waitFor(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
