package image

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

var (
	amd = fleet.Platform{OS: "linux", Arch: "amd64"}
	arm = fleet.Platform{OS: "linux", Arch: "arm64"}
)

// newCopier makes a copier into an embedded registry.
func newCopier(t *testing.T, certs string) (*Copier, *registry.Registry) {
	t.Helper()
	r, err := registry.Open(t.Context(), registry.Options{Dir: t.TempDir(), MinFree: -1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewCopier(r.Sparse(), certs), r
}

// copyOf finds and copies an image, and returns its digest and how much came.
func copyOf(t *testing.T, c *Copier, image reference.Named, platforms ...fleet.Platform) (digest.Digest, Copied) {
	t.Helper()
	d, err := c.Find(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	var last Copied
	if err := c.Copy(t.Context(), image, d, fleet.CopyName(8003, image), platforms,
		func(now Copied) { last = now }); err != nil {
		t.Fatal(err)
	}
	if last.Bytes != last.Total {
		t.Errorf("%+v came in the end", last)
	}
	return d, last
}

func TestCopier_IndexKeepsItsDigest(t *testing.T) {
	t.Parallel()
	h := plainHub(t)
	h.push("library/python:3")
	c, r := newCopier(t, "")
	image := h.named("library/python:3")
	d, came := copyOf(t, c, image, amd)
	if came.Total < 30_000 || came.Total > 40_000 {
		t.Errorf("%+v came of an image with a layer of 30 kB", came)
	}
	if n := h.got("/manifests/sha256:"); n != 2 { // the index and one image: Docker Hub counts them
		t.Errorf("%d manifests were fetched", n)
	}
	here, err := r.Digest(t.Context(), fleet.CopyName(8003, image))
	if err != nil || here != d {
		t.Errorf("the copy is %s, %v; want %s", here, err, d)
	}
	pinned := fleet.CopyName(8003, image) + "@" + d.String()
	if !c.Has(t.Context(), pinned, []fleet.Platform{amd}) || c.Has(t.Context(), pinned, []fleet.Platform{amd, arm}) {
		t.Error("it is not known what is there")
	}

	// A node with other processors has joined.
	h.got("")
	if again, came := copyOf(t, c, image, amd, arm); again != d || came.Total < 30_000 || came.Total > 40_000 {
		t.Errorf("digest %s, %+v came", again, came)
	}
	if n := h.got("/blobs/"); n != 2 {
		t.Errorf("%d blobs were fetched, want a layer and a config", n)
	}
	if !c.Has(t.Context(), pinned, []fleet.Platform{arm}) {
		t.Error("it is not there for arm64")
	}
	if _, came := copyOf(t, c, image, amd, arm); came.Total != 0 || h.got("/blobs/")+h.got("/manifests/sha256:") != 0 {
		t.Errorf("%+v came again", came)
	}
}

func TestCopier_TagMoves(t *testing.T) {
	t.Parallel()
	h := plainHub(t)
	base, err := random.Layer(500_000, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	h.push("python:3", base)
	c, r := newCopier(t, "")
	image := h.named("python:3")
	first, _ := copyOf(t, c, image, amd)
	h.push("python:3", base)
	second, came := copyOf(t, c, image, amd)
	if first == second || came.Total > 100_000 {
		t.Errorf("%s and then %s, for which %+v came", first, second, came)
	}
	pinned, err := reference.WithDigest(image, first)
	if err != nil {
		t.Fatal(err)
	}
	copyOf(t, c, pinned, amd) // does not bring the tag back
	if d, err := r.Digest(t.Context(), fleet.CopyName(8003, image)); err != nil || d != second {
		t.Errorf("the tag is %s, %v", d, err)
	}
	if images, err := r.Images(t.Context()); err != nil || len(images) != 1 {
		t.Errorf("images %+v, %v", images, err)
	}
}

func TestCopier_LosesTheLine(t *testing.T) {
	t.Parallel()
	h := plainHub(t)
	h.push("python:3")
	c, r := newCopier(t, "")
	image := h.named("python:3")
	d, err := c.Find(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	h.fails = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/blobs/") {
			return false
		}
		w.Header().Set("Content-Length", "30000")
		_, _ = w.Write(make([]byte, 1000))
		return true
	}
	err = c.Copy(t.Context(), image, d, fleet.CopyName(8003, image), []fleet.Platform{amd}, func(Copied) {})
	if !errors.Is(err, ErrNoRegistry) || !strings.Contains(err.Error(), "python:3: "+h.host) {
		t.Errorf("got %v", err)
	}
	if images, err := r.Images(t.Context()); err != nil || len(images) != 0 {
		t.Errorf("of half an image there is %+v, %v", images, err)
	}
	h.fails = nil
	copyOf(t, c, image, amd)
}

func TestCopier_Refused(t *testing.T) {
	t.Parallel()
	h := plainHub(t)
	c, _ := newCopier(t, "")
	for status, body := range map[int]string{
		http.StatusNotFound:           `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\nunknown","detail":{"Tag":"3"}}]}`,
		http.StatusTooManyRequests:    `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your limit"}]}`,
		http.StatusUnauthorized:       `<html>`,
		http.StatusServiceUnavailable: ``,
	} {
		h.fails = func(w http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path != "/v2/" {
				w.WriteHeader(status)
				fmt.Fprint(w, body)
			}
			return req.URL.Path != "/v2/"
		}
		_, err := c.Find(t.Context(), h.named("python:3"))
		var said *RefusedError
		if !errors.As(err, &said) || said.Status != status || strings.Contains(err.Error(), "\n") {
			t.Fatalf("%d gives %v", status, err)
		}
		if passing := status == http.StatusTooManyRequests ||
			status == http.StatusServiceUnavailable; said.Temporary() != passing {
			t.Errorf("of %v it is said that it passes: %t", err, said.Temporary())
		}
	}
	h.fails = nil
	if _, err := c.Find(t.Context(), h.named("nothing:1")); err == nil ||
		!strings.Contains(err.Error(), "nothing:1: "+h.host+" answers NAME_UNKNOWN: ") {
		t.Errorf("got %v", err)
	}
}

func TestCopier_NoRegistry(t *testing.T) {
	t.Parallel()
	h := plainHub(t)
	h.Close()
	c, _ := newCopier(t, "")
	_, err := c.Find(t.Context(), h.named("python:3"))
	if !errors.Is(err, ErrNoRegistry) ||
		!strings.HasPrefix(err.Error(), "image "+h.host+"/python:3: "+h.host+" can't be reached: dial tcp ") {
		t.Errorf("got %v", err)
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	h := newHub(t, (*httptest.Server).StartTLS)
	h.push("python:3")
	certs := t.TempDir()
	c, _ := newCopier(t, certs)
	ping := httptest.NewRequest(http.MethodGet, h.URL+"/v2/", nil)
	unknown, err := trust(certs, h.host)
	if err != nil {
		t.Fatal(err)
	}
	defer unknown.CloseIdleConnections()
	if _, err := unknown.RoundTrip(ping); !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Fatalf("a registry of an unknown CA gives %v", err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	if err := errors.Join(os.Mkdir(filepath.Join(certs, h.host), 0o755),
		os.WriteFile(filepath.Join(certs, h.host, "ca.crt"), ca, 0o644)); err != nil {
		t.Fatal(err)
	}
	copyOf(t, c, h.named("python:3"), amd)

	plain, err := trust(certs, "10.0.0.1:5000")
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodGet, "http://10.0.0.1:5000/v2/", nil)
	if _, err := plain.RoundTrip(req); !errors.Is(err, errPlain) {
		t.Errorf("without TLS: %v", err)
	}
}
