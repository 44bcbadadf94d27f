package registry

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	gcr "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/registry/collect"
)

// TestSparse puts an index of which one of two images is there. It is served and
// collected as others are.
func TestSparse(t *testing.T) {
	c := newClock()
	h := start(t, Options{Clock: c.Now})
	idx, err := random.Index(512, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	here, err := idx.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	child := "multi@" + h.push("multi@"+m.Manifests[0].Digest.String(), here).String()
	if err := put(t, h.ref("multi:1"), idx); err == nil {
		t.Fatal("the registry takes an index that is not whole from anybody")
	}
	sparse := httptest.NewServer(h.Sparse())
	defer sparse.Close()
	ref, err := gcr.ParseReference(sparse.Listener.Addr().String()+"/multi:1", gcr.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := put(t, ref, idx); err != nil {
		t.Fatal(err)
	}
	want, err := idx.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := h.Digest(t.Context(), "multi:1"); err != nil || d != digest.Digest(want.String()) {
		t.Errorf("digest %s, %v; want %s", d, err, want)
	}

	c.Advance(2 * time.Hour)
	if r := h.gc(); r != (collect.Report{}) {
		t.Errorf("report = %+v", r)
	}
	h.mustPull(child)
	images, err := h.Images(t.Context())
	if err != nil || len(images) != 1 || images[0].Size == 0 {
		t.Errorf("images %+v, %v", images, err)
	}
	if err := h.Remove(t.Context(), "multi:1"); err != nil {
		t.Fatal(err)
	}
	if r := h.gc(); r.Manifests != 2 || r.Blobs != 3 || h.blobCount() != 0 {
		t.Errorf("report = %+v, %d blobs are left", r, h.blobCount())
	}
}

// put pushes an index without its images.
func put(t *testing.T, ref gcr.Reference, idx v1.ImageIndex) error {
	t.Helper()
	p, err := remote.NewPusher(remote.WithTransport(noKeepAlive()), remote.WithRetryStatusCodes(http.StatusTeapot))
	if err != nil {
		t.Fatal(err)
	}
	return p.Put(t.Context(), ref, idx)
}
