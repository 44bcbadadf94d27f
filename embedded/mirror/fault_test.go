package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestWrongBytes(t *testing.T) {
	for _, limit := range []int64{0, -1} { // kept, and only streamed
		p := startPipeline(t, 1<<20, func(p *pipeline, w http.ResponseWriter, req *http.Request) {
			bad := bytes.Clone(p.content)
			bad[7] ^= 1
			http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(bad))
		})
		n := start(t, p.URL, Options{MaxBytes: limit})
		if _, body, err := n.do(http.MethodGet, p.path()); err == nil {
			t.Errorf("limit %d: the client took %d wrong bytes for whole", limit, len(body))
		}
		n.stop() // waits for the download
		if files := n.cached(); len(files) != 0 {
			t.Errorf("limit %d: kept %v", limit, files)
		}
	}
}

func TestWrongManifest(t *testing.T) {
	p := startPipeline(t, 100, func(p *pipeline, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Docker-Content-Digest", p.digest.String())
		_, _ = io.WriteString(w, `{"not":"it"}`)
	})
	n := start(t, p.URL, Options{})
	for _, ref := range []string{p.digest.String(), "0.01"} {
		resp, body := n.get("/v2/spider/manifests/" + ref)
		if code, msg := errorOf(t, body); code != "UNAVAILABLE" || !strings.Contains(msg, "digest") {
			t.Errorf("%s: %s %s %s", ref, resp.Status, code, msg)
		}
	}
	if files := n.cached(); len(files) != 0 {
		t.Errorf("kept %v", files)
	}
}

// cutting sends at most so many bytes of each answer, then breaks off.
func cutting(size int, ranges bool) func(*pipeline, http.ResponseWriter, *http.Request) {
	return func(p *pipeline, w http.ResponseWriter, req *http.Request) {
		if !ranges {
			req.Header.Del("Range")
		}
		http.ServeContent(&cutWriter{w, size}, req, "", time.Time{}, bytes.NewReader(p.content))
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p[:min(len(p), w.left)])
	if w.left -= n; w.left == 0 {
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func TestUpstreamBreaksOff(t *testing.T) {
	t.Run("goes on where it was", func(t *testing.T) {
		p := startPipeline(t, 20<<20, cutting(3<<20/2, true))
		n := start(t, p.URL, Options{Retries: 2})
		n.wantBlob(p)
		if got := p.opened.Load(); got != 14 {
			t.Errorf("%d attempts, want 14", got)
		}
	})
	t.Run("without ranges", func(t *testing.T) {
		var first atomic.Bool
		p := startPipeline(t, 1<<20, func(p *pipeline, w http.ResponseWriter, req *http.Request) {
			if first.CompareAndSwap(false, true) {
				cutting(500_000, false)(p, w, req)
			}
			req.Header.Del("Range")
			whole(p, w, req)
		})
		start(t, p.URL, Options{}).wantBlob(p)
	})
	t.Run("gives up", func(t *testing.T) {
		p := startPipeline(t, 1<<20, cutting(10_000, true))
		n := start(t, p.URL, Options{Retries: 3})
		if _, body, err := n.do(http.MethodGet, p.path()); err == nil {
			t.Errorf("the client took %d bytes for whole", len(body))
		}
		if got := p.opened.Load(); got != 4 {
			t.Errorf("%d attempts, want 4", got)
		}
		n.stop()
		if files := n.cached(); len(files) != 0 {
			t.Errorf("kept %v", files)
		}
	})
	t.Run("never answers", func(t *testing.T) {
		p := startPipeline(t, 1<<20, func(*pipeline, http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		})
		resp, body := start(t, p.URL, Options{Retries: 2}).get(p.path())
		if code, _ := errorOf(t, body); code != "UNAVAILABLE" || resp.StatusCode != http.StatusFailedDependency {
			t.Errorf("%s %s", resp.Status, body)
		}
	})
}

func TestUpstreamHangs(t *testing.T) {
	var hung atomic.Int64
	p := startPipeline(t, 1<<20, func(p *pipeline, w http.ResponseWriter, req *http.Request) {
		switch hung.Add(1) {
		case 1: // before the header
			<-req.Context().Done()
		case 2: // in the middle
			w.Header().Set("Content-Length", fmt.Sprint(len(p.content)))
			_, _ = w.Write(p.content[:300_000])
			w.(http.Flusher).Flush()
			<-req.Context().Done()
		default:
			whole(p, w, req)
		}
	})
	n := start(t, p.URL, Options{StallTimeout: 50 * time.Millisecond})
	n.wantBlob(p)
	if got := p.opened.Load(); got != 3 {
		t.Errorf("%d attempts, want 3", got)
	}
}

func TestReaderLeaves(t *testing.T) {
	slow := func(rest chan struct{}) func(p *pipeline, w http.ResponseWriter, req *http.Request) {
		return func(p *pipeline, w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(p.content)))
			_, _ = w.Write(p.content[:1<<20])
			w.(http.Flusher).Flush()
			select {
			case <-rest:
				_, _ = w.Write(p.content[1<<20:])
			case <-req.Context().Done():
			}
		}
	}
	leave := func(t *testing.T, n *node, p *pipeline) {
		t.Helper()
		resp, err := client().Get("http://" + n.addr + p.path())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	t.Run("the download goes on", func(t *testing.T) {
		rest := make(chan struct{})
		p := startPipeline(t, 8<<20, slow(rest))
		n := start(t, p.URL, Options{})
		leave(t, n, p)
		close(rest)
		waitFor(t, func() error {
			if s := n.Stats(); s.Files != 1 {
				return fmt.Errorf("stats = %+v", s)
			}
			return nil
		})
	})
	t.Run("but not for ever", func(t *testing.T) {
		p := startPipeline(t, 8<<20, slow(nil))
		n := start(t, p.URL, Options{Linger: 20 * time.Millisecond})
		leave(t, n, p)
		waitFor(t, func() error {
			if files := n.cached(); len(files) != 0 {
				return fmt.Errorf("files = %v", files)
			}
			return nil
		})
	})
}

// What is refused in one repository may be there in another.
func TestRepositoryIsPassedOn(t *testing.T) {
	arrived := make(chan struct{})
	answer := make(chan struct{})
	p := startPipeline(t, 1000, func(p *pipeline, w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/v2/other/") {
			close(arrived)
			<-answer
			writeError(w, http.StatusNotFound, "BLOB_UNKNOWN", "not here")
			return
		}
		whole(p, w, req)
	})
	n := start(t, p.URL, Options{})
	var wg sync.WaitGroup
	wg.Go(func() {
		resp, body := n.get("/v2/other/blobs/" + p.digest.String())
		if resp.StatusCode != http.StatusNotFound || !strings.Contains(string(body), "not here") {
			t.Errorf("other: %s %s", resp.Status, body)
		}
	})
	<-arrived
	wg.Go(func() { n.wantBlob(p) })
	waitFor(t, func() error {
		if n.Stats().Shared != 1 {
			return errors.New("the second did not join")
		}
		return nil
	})
	close(answer)
	wg.Wait()
}
