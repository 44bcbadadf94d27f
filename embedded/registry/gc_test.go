package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/registry/collect"
	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// blobCount counts the files of blobs.
func (h *host) blobCount() int {
	h.t.Helper()
	n := 0
	blobs, err := h.layout.Blobs()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, d := range blobs {
		if _, err := os.Stat(h.layout.BlobFile(d)); err == nil {
			n++
		}
	}
	return n
}

func TestGC_FreesWhatNoTagNeeds(t *testing.T) {
	c := newClock()
	h := start(t, Options{Clock: c.Now})
	h.push("spider:0.01", image(t, 2))
	h.push("other/spider:1", image(t, 2))
	if err := h.Remove(t.Context(), "spider:0.01"); err != nil {
		t.Fatal(err)
	}

	r := h.gc()
	if r.Manifests != 1 || r.Blobs != 3 || r.Bytes < 2*2048 {
		t.Errorf("report = %+v", r)
	}
	if n := h.blobCount(); n != 4 {
		t.Errorf("%d blobs are left, want those of other/spider:1", n)
	}
	h.mustPull("other/spider:1")
	if _, err := os.Stat(h.layout.Abs(layout.RepoDir("spider", ""))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty repository is still there: %v", err)
	}
}

// TestGC_RemovedDuringAPush removes an image while somebody pushes another that
// was told that its layers are there.
func TestGC_RemovedDuringAPush(t *testing.T) {
	for name, tc := range map[string]struct {
		rest  time.Duration // from the removal to the collection
		freed int           // blobs
	}{
		"the push goes on":     {pushPause / 2, 0},
		"the push is given up": {pushPause + time.Second, 3},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			h := start(t, Options{Clock: c.Now})
			img := image(t, 2)
			h.push("spider:0.01", img)
			c.Advance(time.Minute)
			for _, d := range blobsOf(t, img) {
				if resp := h.do(http.MethodHead, "/v2/spider/blobs/"+d, nil); resp.StatusCode != http.StatusOK {
					t.Fatal(resp.Status)
				}
			}
			if err := h.Remove(t.Context(), "spider:0.01"); err != nil {
				t.Fatal(err)
			}
			c.Advance(tc.rest)
			r := h.gc() // the manifest goes: nobody was told of it
			if r.Blobs != tc.freed || (r.Held > 0) != (tc.freed == 0) {
				t.Errorf("report = %+v", r)
			}
			if tc.freed > 0 {
				return
			}
			h.putManifest("spider", "0.02", img)
			h.mustPull("spider:0.02")
			// Removed on purpose once more, and nobody pushes any longer.
			if err := h.Remove(t.Context(), "spider:0.02"); err != nil {
				t.Fatal(err)
			}
			if r := h.gc(); r.Blobs != 3 || r.Held != 0 {
				t.Errorf("at the end: report = %+v", r)
			}
		})
	}
}

func TestGC_KeepsSharedLayers(t *testing.T) {
	c := newClock()
	h := start(t, Options{Clock: c.Now})
	base := image(t, 2)
	layer, err := random.Layer(1024, types.DockerLayer)
	if err != nil {
		t.Fatal(err)
	}
	top, err := mutate.AppendLayers(base, layer)
	if err != nil {
		t.Fatal(err)
	}
	h.push("base:1", base)
	h.push("spider:1", top)
	if err := h.Remove(t.Context(), "base:1"); err != nil {
		t.Fatal(err)
	}
	c.Advance(2 * time.Hour)
	if r := h.gc(); r.Manifests != 1 || r.Blobs != 1 {
		t.Errorf("report = %+v; want base's manifest and config gone", r)
	}
	h.mustPull("spider:1")
}

func TestGC_KeepsWhatServicesRun(t *testing.T) {
	c := newClock()
	h := start(t, Options{Clock: c.Now})
	d := h.push("spider:latest", image(t, 2))
	h.push("spider:latest", image(t, 2)) // the tag moves on
	c.Advance(2 * time.Hour)
	if r := h.gc(d); r != (collect.Report{}) {
		t.Errorf("report = %+v", r)
	}
	h.mustPull("spider@" + d.String())

	c.Advance(2 * time.Hour)
	if r := h.gc(); r.Manifests != 1 || r.Blobs != 3 {
		t.Errorf("report = %+v", r)
	}
	h.mustPull("spider:latest")
}

func TestGC_KeepsIndex(t *testing.T) {
	c := newClock()
	h := start(t, Options{Clock: c.Now})
	idx, err := random.Index(512, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(h.ref("multi:1"), idx, remote.WithTransport(noKeepAlive())); err != nil {
		t.Fatal(err)
	}
	c.Advance(2 * time.Hour)
	if r := h.gc(); r != (collect.Report{}) {
		t.Errorf("report = %+v", r)
	}
	if err := h.Remove(t.Context(), "multi:1"); err != nil {
		t.Fatal(err)
	}
	if r := h.gc(); r.Manifests != 3 || r.Blobs != 6 {
		t.Errorf("report = %+v", r)
	}
	if n := h.blobCount(); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}

func TestGC_ManifestByDigestOnly(t *testing.T) {
	c := newClock()
	h := start(t, Options{Clock: c.Now})
	img := image(t, 2)
	d, _ := img.Digest()
	h.push("spider@"+d.String(), img)
	c.Advance(50 * time.Minute)
	// A client that finds the manifest there skips its layers.
	if resp := h.do(http.MethodHead, "/v2/spider/manifests/"+d.String(), nil, "Accept",
		string(types.DockerManifestSchema2)); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	c.Advance(50 * time.Minute)
	if r := h.gc(); r.Bytes != 0 || r.Held == 0 || !r.HeldUntil.Equal(c.Now().Add(10*time.Minute)) {
		t.Errorf("report = %+v", r)
	}
	h.mustPull("spider@" + d.String())

	c.Advance(2 * time.Hour)
	if r := h.gc(); r.Manifests != 1 || r.Blobs != 3 {
		t.Errorf("report = %+v", r)
	}
}

func TestGC_CheckedBlobStays(t *testing.T) {
	for _, how := range []string{"head", "mount"} {
		t.Run(how, func(t *testing.T) {
			c := newClock()
			h := start(t, Options{Clock: c.Now})
			img := image(t, 2)
			h.push("spider:0.01", img)
			if err := h.Remove(t.Context(), "spider:0.01"); err != nil {
				t.Fatal(err)
			}
			c.Advance(50 * time.Minute)

			repo := "spider"
			for _, d := range blobsOf(t, img) {
				if how == "head" {
					if resp := h.do(http.MethodHead, "/v2/spider/blobs/"+d, nil); resp.StatusCode != http.StatusOK {
						t.Fatal(resp.Status)
					}
					continue
				}
				repo = "copy"
				if resp := h.do(http.MethodPost, "/v2/copy/blobs/uploads/?from=spider&mount="+d,
					nil); resp.StatusCode != http.StatusCreated {
					t.Fatal(resp.Status)
				}
			}
			c.Advance(50 * time.Minute)
			if r := h.gc(); r.Blobs != 0 || r.Manifests != 1 {
				t.Errorf("report = %+v", r)
			}
			h.putManifest(repo, "0.02", img)
			h.mustPull(repo + ":0.02")
		})
	}
}

func blobsOf(t testing.TB, img v1.Image) []string {
	t.Helper()
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	found := []string{m.Config.Digest.String()}
	for _, l := range m.Layers {
		found = append(found, l.Digest.String())
	}
	return found
}

func (h *host) putManifest(repo, tag string, img v1.Image) {
	h.t.Helper()
	raw, err := img.RawManifest()
	if err != nil {
		h.t.Fatal(err)
	}
	resp := h.do(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, strings.NewReader(string(raw)),
		"Content-Type", string(types.DockerManifestSchema2))
	if resp.StatusCode != http.StatusCreated {
		h.t.Fatalf("put manifest: %s", resp.Status)
	}
}

// A client asks for an old manifest in the middle of a sweep and, as it is
// there, will not push its layers again.
func TestGC_RescuesWhatIsAskedForInMidSweep(t *testing.T) {
	c := newClock()
	h := start(t, Options{Clock: c.Now})
	img := image(t, 2)
	d := h.push("spider:0.01", img)
	if err := h.Remove(t.Context(), "spider:0.01"); err != nil {
		t.Fatal(err)
	}
	c.Advance(2 * time.Hour)

	cutoff := h.barrier()
	gc := collect.Collection{Layout: h.layout, Touch: h.touch, Now: c.Now, Log: h.log}
	sweep, err := gc.Mark(t.Context(), nil, cutoff)
	if err != nil {
		t.Fatal(err)
	}
	if resp := h.do(http.MethodHead, "/v2/spider/manifests/"+d.String(), nil, "Accept",
		string(types.DockerManifestSchema2)); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	report, err := sweep.Run(t.Context())
	if report.Held, report.HeldUntil = 0, (time.Time{}); err != nil || report != (collect.Report{}) {
		t.Errorf("report = %+v, %v", report, err)
	}
	h.mustPull("spider@" + d.String())
}

func TestGC_StaleUploads(t *testing.T) {
	c := newClock()
	h := start(t, Options{Clock: c.Now})
	at := h.do(http.MethodPost, "/v2/spider/blobs/uploads/", nil).Header.Get("Location")
	if resp := h.do(http.MethodPatch, at, strings.NewReader("some bytes")); resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp.Status)
	}
	if r := h.gc(); r.Uploads != 0 {
		t.Errorf("within the grace: %+v", r)
	}
	c.Advance(2 * time.Hour)
	if r := h.gc(); r.Uploads != 1 || r.Bytes < 10 {
		t.Errorf("report = %+v", r)
	}
}

func TestGC_DamagedManifestStopsIt(t *testing.T) {
	c := newClock()
	h := start(t, Options{Clock: c.Now})
	d := h.push("spider:0.01", image(t, 1))
	before := h.blobCount()
	if err := os.WriteFile(h.layout.BlobFile(d), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Advance(2 * time.Hour)
	if _, err := h.GC(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "spider:0.01") {
		t.Errorf("GC = %v; want an error that names the image", err)
	}
	if n := h.blobCount(); n != before {
		t.Errorf("%d of %d blobs are left", n, before)
	}
}

// Pushes of images that share layers run against collections with little grace or none.
// Pushes may fail; those that succeed must be whole.
func TestGC_RaceWithPushes(t *testing.T) {
	for _, grace := range []time.Duration{-1, 5 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(fmt.Sprint(grace), func(t *testing.T) { raceWithPushes(t, grace) })
	}
}

func raceWithPushes(t *testing.T, grace time.Duration) {
	// In memory, where syncing costs nothing: more pushes meet more collections.
	h := start(t, Options{Dir: testenv.SmallDisk(t, "size=64m"), Grace: grace})
	base := image(t, 3)
	kicks := &kicker{RoundTripper: noKeepAlive(), kick: make(chan struct{}, 1)}
	var collector sync.WaitGroup
	runs := 0
	collector.Go(func() {
		for range kicks.kick {
			h.gc()
			runs++
		}
	})

	const pushers, rounds = 4, 8
	var pushed sync.Map
	var wg sync.WaitGroup
	for p := range pushers {
		wg.Go(func() {
			for round := range rounds {
				ref := fmt.Sprintf("r%d:%d", p%2, p*rounds+round)
				if pushOnto(h, kicks, base, ref) == nil {
					pushed.Store(ref, true)
					// Removing it makes the shared layers garbage again.
					if round%3 == 0 && h.Remove(t.Context(), ref) == nil {
						pushed.Delete(ref)
					}
				}
			}
		})
	}
	wg.Wait()
	close(kicks.kick)
	collector.Wait()

	n := 0
	pushed.Range(func(ref, _ any) bool {
		n++
		h.mustPull(ref.(string))
		return true
	})
	t.Logf("%d collections, %d of %d pushes are to be there", runs, n, pushers*rounds)
	if n == 0 || runs == 0 {
		t.Error("pushes and collections did not meet")
	}
}

// kicker begins a collection beside every third manifest PUT, the moment when a
// blob comes into use. Collections in an endless loop would leave no push
// without grace whole.
type kicker struct {
	http.RoundTripper
	puts atomic.Int64
	kick chan struct{}
}

func (k *kicker) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPut && manifestPath.MatchString(req.URL.Path) && k.puts.Add(1)%3 == 0 {
		select {
		case k.kick <- struct{}{}:
		default:
		}
	}
	return k.RoundTripper.RoundTrip(req)
}

func pushOnto(h *host, client http.RoundTripper, base v1.Image, ref string) error {
	layer, err := random.Layer(256, types.DockerLayer)
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return err
	}
	return remote.Write(h.ref(ref), img, remote.WithTransport(client),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
}

func TestGC_CancelledContext(t *testing.T) {
	h := start(t, Options{})
	h.push("spider:0.01", image(t, 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.GC(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("GC = %v", err)
	}
}

func TestGC_KeepUnknownDigest(t *testing.T) {
	h := start(t, Options{})
	h.push("spider:0.01", image(t, 1))
	h.gc(digest.FromString("gone")) // an image that was never here
	if _, err := h.GC(t.Context(), []digest.Digest{"sha256:short"}); err == nil {
		t.Error("GC accepted a digest that is none")
	}
	h.mustPull("spider:0.01")
}

func TestGC_OldTagHistory(t *testing.T) {
	c := newClock()
	h := start(t, Options{Clock: c.Now})
	old := h.push("spider:latest", image(t, 1))
	h.push("spider:latest", image(t, 1))
	entry := filepath.Join(h.layout.Abs(layout.TagDir("spider", "latest")), "index/sha256", old.Encoded())
	if _, err := os.Stat(entry); err != nil {
		t.Fatal(err)
	}
	c.Advance(2 * time.Hour)
	h.gc()
	if _, err := os.Stat(entry); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the tag still has an entry for the old digest: %v", err)
	}
	h.mustPull("spider:latest")
}
