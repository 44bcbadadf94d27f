package image

import (
	"archive/tar"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestFromBinary_PushedImageHoldsTheBinary(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(registry.New())
	defer srv.Close()
	bin := filepath.Join(t.TempDir(), "spider")
	if err := os.WriteFile(bin, []byte("not really a binary"), 0o755); err != nil {
		t.Fatal(err)
	}
	img, err := FromBinary(bin, "crawl", "--fast")
	if err != nil {
		t.Fatal(err)
	}
	ref := strings.TrimPrefix(srv.URL, "http://") + "/spider:0.01"
	digest, err := Push(t.Context(), ref, img)
	if err != nil {
		t.Fatal(err)
	}

	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Image(tag)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := got.Digest(); err != nil || d.String() != digest {
		t.Fatalf("digest %v, %v; want %s", d, err, digest)
	}
	cfg, err := got.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if e := strings.Join(cfg.Config.Entrypoint, " "); e != "/app crawl --fast" {
		t.Errorf("entrypoint %q", e)
	}
	files := mutate.Extract(got)
	defer files.Close()
	tr := tar.NewReader(files)
	h, err := tr.Next()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(tr)
	if err != nil {
		t.Fatal(err)
	}
	if h.Name != "app" || h.Mode != 0o755 || string(content) != "not really a binary" {
		t.Errorf("got %s %o %q", h.Name, h.Mode, content)
	}
}

func TestPush_BadName(t *testing.T) {
	t.Parallel()
	if _, err := Push(t.Context(), "localhost:5000/UPPER:1", nil); err == nil ||
		!strings.Contains(err.Error(), "not an image name") {
		t.Fatalf("got %v", err)
	}
}

func TestFromBinary_MissingFile(t *testing.T) {
	t.Parallel()
	if _, err := FromBinary(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Fatal("no error")
	}
}
