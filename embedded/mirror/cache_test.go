package mirror

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
)

// store returns an upstream with several blobs of one size.
func store(t testing.TB, count, size int) (base string, content map[digest.Digest][]byte, order []digest.Digest) {
	t.Helper()
	content = make(map[digest.Digest][]byte)
	for i := range count {
		b := bytes.Repeat([]byte{byte(i + 1)}, size)
		d := digest.FromBytes(b)
		content[d] = b
		order = append(order, d)
	}
	p := startPipeline(t, 1, func(_ *pipeline, w http.ResponseWriter, req *http.Request) {
		b := content[digest.Digest(filepath.Base(req.URL.Path))]
		whole(&pipeline{content: b}, w, req)
	})
	return p.URL, content, order
}

func (n *node) fetch(d digest.Digest, want []byte) {
	n.t.Helper()
	if _, body := n.get("/v2/spider/blobs/" + d.String()); !bytes.Equal(body, want) {
		n.t.Errorf("%s: %d of %d bytes", d, len(body), len(want))
	}
}

// awaitDownloads waits until no download is under way.
func (n *node) awaitDownloads() Stats {
	n.t.Helper()
	waitFor(n.t, func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.downloads) > 0 {
			return fmt.Errorf("%d downloads are under way", len(n.downloads))
		}
		return nil
	})
	return n.Stats()
}

func TestEviction(t *testing.T) {
	base, content, order := store(t, 4, 1000)
	n := start(t, base, Options{MaxBytes: 3500})
	for _, d := range order[:3] {
		n.fetch(d, content[d])
		n.awaitDownloads()
	}
	n.fetch(order[0], content[order[0]]) // now the second is the oldest
	n.fetch(order[3], content[order[3]])
	if s := n.awaitDownloads(); s.Files != 3 || s.Bytes != 3000 || s.Evicted != 1 {
		t.Errorf("stats = %+v", s)
	}
	if n.cache.Has(cache.Blob(order[1])) || !n.cache.Has(cache.Blob(order[0])) {
		t.Error("not the one that was used longest ago is gone")
	}

	n.stop() // the order survives
	n = start(t, base, Options{Dir: n.opts.Dir, MaxBytes: 1500})
	if s := n.Stats(); s.Files != 1 || !n.cache.Has(cache.Blob(order[3])) {
		t.Errorf("stats after a lower limit = %+v", s)
	}
}

func TestEviction_NotWhatIsRead(t *testing.T) {
	base, content, order := store(t, 2, 1000)
	n := start(t, base, Options{MaxBytes: 1500})
	n.fetch(order[0], content[order[0]])
	n.awaitDownloads()
	f, ent, ok := n.cache.Open(cache.Blob(order[0]))
	if !ok {
		t.Fatal("not kept")
	}
	defer f.Close()
	n.fetch(order[1], content[order[1]]) // comes, but is not kept
	n.awaitDownloads()
	if !n.cache.Has(cache.Blob(order[0])) || n.cache.Has(cache.Blob(order[1])) {
		t.Error("evicted what is being read")
	}
	n.cache.Release(ent)
	n.fetch(order[1], content[order[1]])
	if n.awaitDownloads(); !n.cache.Has(cache.Blob(order[1])) {
		t.Error("not kept when there is room")
	}
}

func TestLargerThanTheLimit(t *testing.T) {
	p := startPipeline(t, 1<<20, whole)
	n := start(t, p.URL, Options{MaxBytes: 1000})
	n.wantBlob(p)
	resp, body := n.get(p.path(), "Range", "bytes=1000-1999")
	if resp.StatusCode != http.StatusPartialContent || !bytes.Equal(body, p.content[1000:2000]) {
		t.Errorf("range: %s, %d bytes", resp.Status, len(body))
	}
	if s := n.awaitDownloads(); s.Files != 0 || s.Streamed != 2 {
		t.Errorf("stats = %+v", s)
	}
}

func TestEmptyBlob(t *testing.T) {
	for _, limit := range []int64{0, -1} {
		p := startPipeline(t, 0, whole)
		start(t, p.URL, Options{MaxBytes: limit}).wantBlob(p)
	}
}

func TestOpen_AfterACrash(t *testing.T) {
	p := startPipeline(t, 100_000, whole)
	n := start(t, p.URL, Options{})
	n.wantBlob(p)
	n.awaitDownloads()
	n.stop()

	half := filepath.Join(n.opts.Dir, "tmp", "123")
	if err := os.WriteFile(half, p.content[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	kept := n.cache.Path(cache.Blob(p.digest))
	if err := os.WriteFile(kept, p.content[:5000], 0o600); err != nil { // a bad disk
		t.Fatal(err)
	}
	n = start(t, p.URL, Options{Dir: n.opts.Dir})
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("the half-written file is still there: %v", err)
	}
	n.wantBlob(p)
	n.awaitDownloads()
	n.wantBlob(p)
	if got := p.opened.Load(); got != 2 {
		t.Errorf("%d requests reached the upstream, want 2", got)
	}
}

func TestFullDisk(t *testing.T) {
	dir := testenv.SmallDisk(t, "size=4m")

	t.Run("known before", func(t *testing.T) {
		p := startPipeline(t, 8<<20, whole)
		n := start(t, p.URL, Options{Dir: dir, MinFree: 1 << 20})
		n.wantBlob(p)
		if s := n.awaitDownloads(); s.Files != 0 || s.Streamed != 1 {
			t.Errorf("stats = %+v", s)
		}
	})
	t.Run("in the middle", func(t *testing.T) {
		more := make(chan struct{})
		p := startPipeline(t, 3<<20, func(p *pipeline, w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Range") != "" {
				whole(p, w, req)
				return
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(p.content)))
			_, _ = w.Write(p.content[:1<<20])
			w.(http.Flusher).Flush()
			<-more
			_, _ = w.Write(p.content[1<<20:])
		})
		n := start(t, p.URL, Options{Dir: dir})
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.wantBlob(p)
		}()
		waitFor(t, func() error { // the download fits and has begun
			if files := n.cached(); len(files) != 1 {
				return fmt.Errorf("files = %v", files)
			}
			return nil
		})
		ballast := filepath.Join(dir, "ballast")
		if err := os.WriteFile(ballast, make([]byte, 5<<19), 0o600); err != nil {
			t.Fatal(err)
		}
		close(more)
		<-done
		n.awaitDownloads()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if s := n.awaitDownloads(); s.Files != 0 || s.Streamed != 1 {
			t.Errorf("stats = %+v", s)
		}
		if files := n.cached(); len(files) != 0 {
			t.Errorf("left %v", strings.Join(files, " "))
		}
	})
}
