package deploy

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/distribution/reference"
	gcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// testCopies returns copies in a registry of their own.
func testCopies(t *testing.T) *copies {
	t.Helper()
	r, err := registry.Open(t.Context(), registry.Options{Dir: t.TempDir(), MinFree: -1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return &copies{
		Copier:   image.NewCopier(r.Sparse(), ""),
		registry: r,
		port:     8003,
		log:      slog.New(slog.DiscardHandler),
		own: func(hostport string) bool {
			return hostport == "localhost:8003" || hostport == "10.0.0.1:8003"
		},
	}
}

func TestCopies_External(t *testing.T) {
	t.Parallel()
	c := testCopies(t)
	digest := "@sha256:" + strings.Repeat("a", 64)
	for named, want := range map[string]string{
		"python:3.12":        "docker.io/library/python:3.12",
		"python" + digest:    "docker.io/library/python" + digest,
		"localhost:5000/a:1": "localhost:5000/a:1",
		"localhost:8003/a:1": "",
		"10.0.0.1:8003/a:1":  "",
		"[fd00::1]:5000/a:1": "", // can't be part of a name
		"no image at all":    "", // the engine says so
		"quay.io/a/b":        "quay.io/a/b",
		"localhost:8003/mirror/docker.io/library/python:3":          "docker.io/library/python:3",
		"localhost:8003/mirror/docker.io/library/python:3" + digest: "",
	} {
		got := ""
		if ref := c.external(named); ref != nil {
			got = ref.String()
		}
		if got != want {
			t.Errorf("%s is %q, want %q", named, got, want)
		}
	}
	if ref := (*copies)(nil).external("python:3"); ref != nil {
		t.Errorf("with registry.public: false, there is %s", ref)
	}
}

// TestCopies_Find asks a registry that has an image, no longer has it, limits its clients,
// and is away.
func TestCopies_Find(t *testing.T) {
	t.Parallel()
	status := 0
	images := gcr.New(gcr.Logger(log.New(io.Discard, "", 0)))
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if status != 0 {
			w.WriteHeader(status)
			return
		}
		images.ServeHTTP(w, req)
	}))
	defer hub.Close()
	host := hub.Listener.Addr().String()
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Push(t.Context(), host+"/python:3", img)
	if err != nil {
		t.Fatal(err)
	}

	c := testCopies(t)
	find := func(named string) (string, *Source, error) {
		t.Helper()
		ref, err := reference.ParseNormalizedNamed(host + "/" + named)
		if err != nil {
			t.Fatal(err)
		}
		return c.find(t.Context(), ref, []fleet.Platform{{OS: "linux", Arch: "amd64"}})
	}
	copied := "localhost:8003/mirror/" + strings.Replace(host, ":", "_", 1) + "/python"
	pinned := copied + ":3@" + digest
	got, from, err := find("python:3")
	if err != nil || got != pinned || from == nil || from.Registry != host || from.Note != "" {
		t.Fatalf("at first: %s, %+v, %v", got, from, err)
	}
	if err := from.Copy(t.Context(), func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	if got, from, err := find("python:3"); err != nil || got != pinned || from != nil {
		t.Errorf("once it is here: %s, %+v, %v", got, from, err)
	}

	var refused *image.RefusedError
	status = http.StatusNotFound
	if _, _, err := find("python:3"); !errors.As(err, &refused) {
		t.Errorf("an image that is there no more: %v", err)
	}
	status = http.StatusTooManyRequests
	if got, from, err := find("python:3"); err != nil || got != pinned ||
		!strings.Contains(from.Note, "429 Too Many Requests") || from.Copy != nil {
		t.Errorf("where the registry limits: %s, %+v, %v", got, from, err)
	}
	if _, _, err := find("python:4"); !errors.As(err, &refused) {
		t.Errorf("another, where the registry limits: %v", err)
	}
	hub.Close()
	if got, from, err := find("python:3"); err != nil || got != pinned ||
		!strings.HasSuffix(from.Note, "connection refused; the copy that is here is used") || from.Copy != nil {
		t.Errorf("without the registry: %s, %+v, %v", got, from, err)
	}
	if got, from, err := find("python@" + digest); err != nil || got != copied+"@"+digest || from != nil {
		t.Errorf("by its digest: %s, %+v, %v", got, from, err)
	}
	if _, _, err := find("python:4"); !errors.Is(err, image.ErrNoRegistry) {
		t.Errorf("another without the registry: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	ref, _ := reference.ParseNormalizedNamed(host + "/python:3")
	if _, _, err := c.find(ended, ref, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("broken off: %v", err)
	}
}
