package registry

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/registry/storage"
)

// ask sends a request and returns its status.
func ask(h http.Handler, method, path string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code
}

func (p *pushes) size() (repos, digests int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.repos {
		digests += len(s.told) + len(s.asked)
	}
	return len(p.repos), digests
}

// TestPushes_GrowByWhatIsThere asks for what is not there in all ways that there are,
// with the right to write and to read, and for what is there with the right to read.
func TestPushes_GrowByWhatIsThere(t *testing.T) {
	t.Parallel()
	h := start(t, Options{})
	img := image(t, 1)
	h.push("spider:1", img)
	h.pushes.mu.Lock()
	clear(h.pushes.repos)
	h.pushes.mu.Unlock()
	layer := blobsOf(t, img)[0]
	write, read := h.Handler(), ReadOnly(h.Handler())
	nothing := digest.FromString("nothing").String()
	for i := range 200 {
		name := fmt.Sprintf("not-there-%d", i)
		for _, method := range []string{
			http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPut, http.MethodPatch,
		} {
			for _, path := range []string{
				"/blobs/" + nothing, "/manifests/" + nothing, "/manifests/1",
				"/blobs/uploads/" + strings.Repeat("0", 36), "/tags/list", "/referrers/" + nothing,
			} {
				ask(write, method, "/v2/"+name+path)
				ask(read, method, "/v2/"+name+path)
			}
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			ask(read, method, "/v2/spider/blobs/"+layer)
			ask(read, method, "/v2/spider/manifests/1")
		}
	}
	if repos, digests := h.pushes.size(); repos != 0 || digests != 0 {
		t.Errorf("%d repositories and %d digests are remembered of requests that brought and found nothing", repos,
			digests)
	}
	if ask(write, http.MethodHead, "/v2/spider/blobs/"+layer) != http.StatusOK {
		t.Fatal("the layer is not there")
	}
	if repos, digests := h.pushes.size(); repos != 1 || digests != 1 {
		t.Errorf("%d repositories and %d digests are remembered, want the one that a push was told of", repos, digests)
	}
}

// TestPushes_EndedAreForgotten: pushes to many repositories do not add up, also where
// nothing is ever collected.
func TestPushes_EndedAreForgotten(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := pushes{repos: map[string]*pushState{}}
	d := []digest.Digest{digest.FromString("x")}
	for i := range 1000 {
		name := fmt.Sprint("spider", i)
		p.begin(name, c.Now(), d)
		p.end(name, c.Now(), d, true)
		c.Advance(pushPause / 10)
	}
	if repos, _ := p.size(); repos > 30 {
		t.Errorf("%d repositories are remembered, of which all but 10 have rested for long", repos)
	}
}

// noTags are those of registries that are one, and have none.
type noTags struct{ Tags }

func (noTags) All() AllTags { return nil }

// TestManifests_Room fills the room for manifests with long ones that never come: the next one is refused, and those
// of usual length are not.
func TestManifests_Room(t *testing.T) {
	t.Parallel()
	h := start(t, Options{Tags: noTags{}})
	h.room.patience = 50 * time.Millisecond
	put := func(body io.Reader, length int64) *httptest.ResponseRecorder {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v2/spider/manifests/_a.b", body)
		req.ContentLength = length
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, req)
		return w
	}
	var held sync.WaitGroup
	slow, end := io.Pipe()
	began := make(chan struct{})
	for range roomForLarge / maxManifest {
		held.Go(func() { put(io.MultiReader(told{began}, slow), -1) })
		<-began
	}
	said := put(strings.NewReader("{"), maxManifest)
	if said.Code != http.StatusTooManyRequests || !strings.Contains(said.Body.String(), errNoRoom.Error()) {
		t.Errorf("one more: %d %s", said.Code, said.Body)
	}
	if said := put(strings.NewReader("{"), 1); said.Code != http.StatusBadRequest {
		t.Errorf("a short one: %d %s", said.Code, said.Body)
	}
	end.Close()
	held.Wait()
	if said := put(strings.NewReader("{"), maxManifest); said.Code != http.StatusBadRequest {
		t.Errorf("once there is room: %d %s", said.Code, said.Body)
	}
}

// told says when it is read.
type told struct{ read chan struct{} }

func (r told) Read([]byte) (int, error) {
	r.read <- struct{}{}
	return 0, io.EOF
}

func TestLongNamesAreRefused(t *testing.T) {
	t.Parallel()
	h := start(t, Options{})
	long := strings.Repeat("a", 256)
	nothing := digest.FromString("nothing").String()
	for _, path := range []string{"/blobs/" + nothing, "/manifests/1", "/blobs/uploads/", "/tags/" + strings.Repeat("l",
		maxPath)} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost} {
			if status := ask(h.Handler(), method, "/v2/"+long+path); status != http.StatusBadRequest {
				t.Errorf("%s of a name of 256 characters, %.20s: %d", method, path, status)
			}
		}
	}
	if status := ask(h.Handler(), http.MethodHead, "/v2/"+long[1:]+"/blobs/"+nothing); status != http.StatusNotFound {
		t.Errorf("a name of 255 characters: %d", status)
	}
}

// TestWarningsAreBounded is not parallel: distribution's log is one for the process.
func TestWarningsAreBounded(t *testing.T) {
	h := start(t, Options{})
	var out bytes.Buffer
	storage.RedirectLogrus(slog.New(slog.NewTextHandler(&out, nil)))
	const most = 22
	for range 500 {
		ask(ReadOnly(h.Handler()), http.MethodGet, "/v2/spider/manifests/sha256:"+strings.Repeat("z", 900))
	}
	if n := strings.Count(out.String(), "\n"); n > most {
		t.Errorf("500 requests made %d lines of log", n)
	}
	if len(out.String()) > most*8*(256+64) {
		t.Errorf("the lines have %d bytes", out.Len())
	}
}
