package mirror

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gcr "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
)

// imageBytes is a little more than an image of image() takes, and less than twice as
// much.
const imageBytes = 350_000

// pulled pushes an image and pulls it through the mirror.
func (n *node) pulled(up *manager, name string, img v1.Image) {
	n.t.Helper()
	up.push(n.t, name, img)
	if err := pull(n.addr, name); err != nil {
		n.t.Fatal(err)
	}
	n.awaitDownloads()
}

// partsOf returns the digests of an image.
func partsOf(t testing.TB, img v1.Image) (list []digest.Digest) {
	t.Helper()
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	list = append(list, digest.Digest(d.String()), digest.Digest(m.Config.Digest.String()))
	for _, l := range m.Layers {
		list = append(list, digest.Digest(l.Digest.String()))
	}
	return list
}

// has counts how many parts of an image are kept.
func (n *node) has(img v1.Image) (kept int) {
	n.t.Helper()
	for _, d := range partsOf(n.t, img) {
		if n.cache.Has(cache.Blob(d)) || n.cache.Has(cache.Manifest(d)) {
			kept++
		}
	}
	return kept
}

func (n *node) wantParts(what string, img v1.Image, want int) {
	n.t.Helper()
	if got := n.has(img); got != want {
		n.t.Errorf("%s: %d parts are kept, want %d", what, got, want)
	}
}

func TestPins(t *testing.T) {
	up := startManager(t)
	pinned, d := image(t)
	n := start(t, up.URL, Options{MaxBytes: 2 * imageBytes})
	if !n.Pin(d) || n.Pin(d) {
		t.Error("a new pin is not told from an old one")
	}
	n.pulled(up, "pinned:1", pinned) // it is pinned before it is here
	others := []v1.Image{pinned, pinned}
	for i := range others {
		others[i], _ = image(t)
		n.pulled(up, "other:1", others[i])
	}
	n.wantParts("the pinned one, used longest ago", pinned, 5)
	n.wantParts("the newest", others[1], 5)
	if kept := n.has(others[0]); kept == 5 {
		t.Error("nothing was evicted")
	}

	killed := t.TempDir() // as a kill -9 would leave it
	if err := os.CopyFS(killed, os.DirFS(n.opts.Dir)); err != nil {
		t.Fatal(err)
	}
	n = start(t, up.URL, Options{Dir: killed, MaxBytes: imageBytes})
	n.wantParts("the pinned one, after a kill and with a lower limit", pinned, 5)

	n.Unpin(d)
	n.wantParts("what is no longer pinned", pinned, 0)
	n.stop()
	n = start(t, up.URL, Options{Dir: killed, MaxBytes: imageBytes})
	if !n.Pin(d) {
		t.Error("a pin that was taken back is there again")
	}
}

func TestPins_LastResort(t *testing.T) {
	up := startManager(t)
	var log bytes.Buffer
	n := startLogged(t, up.URL, Options{MaxBytes: 2 * imageBytes}, slog.New(slog.NewTextHandler(&log, nil)))
	var images []v1.Image
	for range 3 {
		img, d := image(t)
		n.Pin(d)
		n.pulled(up, "pinned:1", img)
		images = append(images, img)
	}
	if n.has(images[0]) == 5 {
		t.Error("the oldest is still there")
	}
	n.wantParts("the one before", images[1], 5)
	n.wantParts("the newest", images[2], 5)
	before := n.Stats().Files
	if n.cache.Reserve(2*imageBytes + 1) {
		t.Error("there is room for what is larger than the limit")
	}
	f, ent, ok := n.cache.Open(cache.Blob(partsOf(t, images[2])[2]))
	if !ok {
		t.Fatal("not kept")
	}
	if n.cache.Reserve(2 * imageBytes) {
		t.Error("what is being read was evicted")
	}
	n.cache.Release(ent)
	f.Close()
	if now := n.Stats().Files; now != before {
		t.Errorf("%d files were evicted for nothing", before-now)
	}
	n.stop()
	if !strings.Contains(log.String(), "a part of a pinned image") {
		t.Errorf("the log says nothing of it: %s", log.String())
	}
}

func TestUnpin_KeepsWhatOthersNeed(t *testing.T) {
	up := startManager(t)
	n := start(t, up.URL, Options{})
	first, d := image(t)
	second, d2 := above(t, first)
	for _, img := range []struct {
		v1.Image
		d digest.Digest
	}{{first, d}, {second, d2}} {
		n.Pin(img.d)
		n.pulled(up, "spider:1", img)
	}
	n.Unpin(d)
	n.wantParts("the second", second, 6)
	n.wantParts("the first, of which the second has three layers", first, 3)
	n.Unpin(d2)
	if s := n.Stats(); s.Files != 0 || s.Bytes != 0 {
		t.Errorf("%d files of %d bytes are left", s.Files, s.Bytes)
	}
}

// above returns an image that has the layers of another, and one more.
func above(t testing.TB, img v1.Image) (v1.Image, digest.Digest) {
	t.Helper()
	layer, err := random.Layer(300_000, "application/vnd.docker.image.rootfs.diff.tar.gzip")
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.AppendLayers(img, layer)
	if err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return img, digest.Digest(d.String())
}

func TestPins_Index(t *testing.T) {
	up := startManager(t)
	img, _ := image(t)
	index := mutate.AppendManifests(mutate.IndexMediaType(emptyIndex(t), "application/vnd.oci.image.index.v1+json"),
		mutate.IndexAddendum{Add: img})
	ref, err := gcr.ParseReference(up.Listener.Addr().String()+"/many:1", gcr.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index, remote.WithTransport(client().Transport)); err != nil {
		t.Fatal(err)
	}
	d, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, up.URL, Options{MaxBytes: 2 * imageBytes})
	n.get("/v2/many/manifests/" + d.String())
	n.pulled(up, "one:1", img)
	n.Pin(digest.Digest(d.String()))
	for range 2 {
		other, _ := image(t)
		n.pulled(up, "other:1", other)
	}
	n.wantParts("an image of a pinned index", img, 5)
}

func emptyIndex(t testing.TB) v1.ImageIndex {
	t.Helper()
	index, err := random.Index(1, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestPins_Damaged(t *testing.T) {
	for name, content := range map[string]string{
		"not JSON": "{", "of a later version": `{"version":2,"images":["sha256:` + strings.Repeat("0", 64) + `"]}`,
		"not a digest": `{"version":1,"images":["../../x"]}`, "empty": "",
	} {
		t.Run(name, func(t *testing.T) {
			up := startManager(t)
			dir := t.TempDir()
			path := filepath.Join(dir, "pins.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			c, err := cache.Open(dir, 1000, -1, testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			if p := openPins(c, slog.New(slog.NewTextHandler(&log, nil))); len(p.images) != 0 {
				t.Errorf("pinned are %v", p.images)
			}
			if !strings.Contains(log.String(), "level=WARN") {
				t.Errorf("the log says nothing of it: %s", log.String())
			}
			img, d := image(t)
			n := start(t, up.URL, Options{Dir: dir})
			n.Pin(d)
			n.pulled(up, "spider:1", img)
			n.stop()
			if n = start(t, up.URL, Options{Dir: dir}); n.Pin(d) {
				t.Error("the next pin is not kept")
			}
		})
	}
}
