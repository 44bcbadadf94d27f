package registry

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

func bigImage(t *testing.T, bytes int64) v1.Image {
	t.Helper()
	img, err := random.Image(bytes, 1)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func wantDenied(t *testing.T, err error) {
	t.Helper()
	var te *transport.Error
	if !errors.As(err, &te) || len(te.Errors) == 0 {
		t.Fatalf("push = %v; want the registry API's error", err)
	}
	if te.Errors[0].Code != transport.DeniedErrorCode || !strings.Contains(te.Errors[0].Message, "crawlbox images gc") {
		t.Errorf("push = %+v; want DENIED with what to do", te.Errors[0])
	}
}

func TestFullDisk(t *testing.T) {
	for _, tt := range []struct {
		name    string
		minFree int64
		client  http.RoundTripper
	}{
		{"size is known", 8 << 20, noKeepAlive()},
		{"limit comes in the middle", 8 << 20, chunked{noKeepAlive()}},
		{"no space left on device", -1, chunked{noKeepAlive()}},
	} {
		t.Run(tt.name, func(t *testing.T) { fullDisk(t, tt.minFree, tt.client) })
	}
}

// chunked sends uploads as Docker does, without saying how long they are.
type chunked struct{ http.RoundTripper }

func (c chunked) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPatch {
		req = req.Clone(req.Context())
		req.ContentLength = -1
	}
	return c.RoundTripper.RoundTrip(req)
}

func fullDisk(t *testing.T, minFree int64, client http.RoundTripper) {
	dir := testenv.SmallDisk(t, "size=24m")
	h := start(t, Options{Dir: dir, MinFree: minFree, Grace: -1})
	h.push("spider:0.01", bigImage(t, 4<<20))

	before, _, err := disk.Free(h.disk.Dir)
	if err != nil {
		t.Fatal(err)
	}
	big := bigImage(t, 28<<20)
	for range 3 { // the answer must get through each time
		err = remote.Write(h.ref("big:1"), big, remote.WithTransport(client))
		wantDenied(t, err)
	}
	h.mustPull("spider:0.01")
	// Small blobs of the image may be there, waiting for a push that fits.
	if after := disk.FreeBytes(h.disk.Dir); after < before-512<<10 {
		t.Errorf("the failed pushes keep %d bytes", before-after)
	}
	if tags := h.tagList("spider"); !slices.Equal(tags, []string{"0.01"}) {
		t.Errorf("tags = %v", tags)
	}
	h.push("small:1", bigImage(t, 1<<20))
	h.gc()
	h.stop()
	h = start(t, Options{Dir: dir, MinFree: minFree})
	h.mustPull("spider:0.01")
	h.mustPull("small:1")
}

// With the disk full to the last byte not even links can be written.
func TestFullDisk_SmallFiles(t *testing.T) {
	dir := testenv.SmallDisk(t, "size=8m")
	h := start(t, Options{Dir: dir})
	img := image(t, 1)
	h.push("spider:0.01", img)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)

	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	mt, _ := img.MediaType()
	resp := h.do(http.MethodPut, "/v2/spider/manifests/0.02", bytes.NewReader(raw), "Content-Type", string(mt))
	if code := errorCode(t, resp); code != "DENIED" {
		t.Errorf("put manifest: %s %s", resp.Status, code)
	}
	resp = h.do(http.MethodPost, "/v2/spider/blobs/uploads/", nil)
	if code := errorCode(t, resp); code != "DENIED" {
		t.Errorf("start upload: %s %s", resp.Status, code)
	}
	h.mustPull("spider:0.01")
	if tags := h.tagList("spider"); !slices.Equal(tags, []string{"0.01"}) {
		t.Errorf("tags = %v", tags)
	}
	noHalfFiles(t, dir)

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	h.push("spider:0.02", img)
	h.mustPull("spider:0.02")
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

func noHalfFiles(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		if durable.Leftover(e.Name()) || strings.HasSuffix(e.Name(), ".tmp") || (fi.Size() == 0 && e.Name() == "link") {
			t.Errorf("%s is left with %d bytes", p, fi.Size())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
