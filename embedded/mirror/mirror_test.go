package mirror

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestPull(t *testing.T) {
	up := startManager(t)
	img, _ := image(t)
	up.push(t, "team/spider:0.01", img)
	n := start(t, up.URL, Options{})
	for range 2 {
		if err := pull(n.addr, "team/spider:0.01"); err != nil {
			t.Fatal(err)
		}
	}
	if got := up.blobs.Load(); got != 4 {
		t.Errorf("the manager sent %d blobs, want each of 4 once", got)
	}

}

func TestManagerAway(t *testing.T) {
	up := startManager(t)
	img, d := image(t)
	up.push(t, "team/spider:0.01", img)
	n := start(t, up.URL, Options{Manager: func() string { return "10.0.0.1:8003" }})
	if err := pull(n.addr, "team/spider:0.01"); err != nil {
		t.Fatal(err)
	}

	up.away.Store(true)
	if err := pull(n.addr, "team/spider@"+d.String()); err != nil {
		t.Errorf("pull by digest: %v", err)
	}
	resp, body := n.get("/v2/team/spider/manifests/0.01")
	code, msg := errorOf(t, body)
	if resp.StatusCode != http.StatusFailedDependency || code != "UNAVAILABLE" ||
		!strings.Contains(msg, "10.0.0.1:8003") || strings.Contains(msg, "\n") {
		t.Errorf("tag: %s %s %s", resp.Status, code, msg)
	}
	if resp, _ := n.get("/v2/"); resp.StatusCode != http.StatusOK {
		t.Errorf("ping: %s", resp.Status)
	}

	n.stop()
	n = start(t, up.URL, Options{Dir: n.opts.Dir})
	if err := pull(n.addr, "team/spider@"+d.String()); err != nil {
		t.Errorf("pull by digest after a restart: %v", err)
	}
	if resp, _ := n.get("/v2/team/spider/manifests/0.01"); resp.StatusCode != http.StatusFailedDependency {
		t.Errorf("tag after a restart: %s", resp.Status)
	}
}

func TestMovedTag(t *testing.T) {
	up := startManager(t)
	n := start(t, up.URL, Options{})
	for range 2 {
		img, d := image(t)
		up.push(t, "spider:latest", img)
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			resp, _, err := n.do(method, "/v2/spider/manifests/latest")
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.Header.Get("Docker-Content-Digest"); got != d.String() {
				t.Errorf("%s: the tag is %s, want %s", method, got, d)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	up := startManager(t)
	img, _ := image(t)
	up.push(t, "spider:0.01", img)
	n := start(t, up.URL, Options{})
	none := digest.FromString("none").String()
	for path, want := range map[string]string{
		"/v2/spider/manifests/none":          "MANIFEST_UNKNOWN",
		"/v2/spider/manifests/" + none:       "MANIFEST_UNKNOWN",
		"/v2/spider/blobs/" + none:           "BLOB_UNKNOWN",
		"/v2/spider/blobs/sha256:short":      "DIGEST_INVALID",
		"/v2/spider/manifests/sha256:short":  "DIGEST_INVALID",
		"/v2/spider/manifests/md5:d41d8cd98": "DIGEST_INVALID",
	} {
		resp, body := n.get(path)
		if code, _ := errorOf(t, body); code != want || resp.StatusCode < 400 {
			t.Errorf("GET %s: %s %s, want %s", path, resp.Status, code, want)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		resp, body, err := n.do(method, "/v2/spider/blobs/uploads/")
		if err != nil {
			t.Fatal(err)
		}
		if code, msg := errorOf(t, body); resp.StatusCode != http.StatusForbidden || code != "DENIED" ||
			!strings.Contains(msg, "manager") {
			t.Errorf("%s: %s %s %s", method, resp.Status, code, msg)
		}
	}
	resp, body := n.get("/v2/spider/tags/list")
	if !strings.Contains(string(body), "0.01") {
		t.Errorf("tags: %s %s", resp.Status, body)
	}
}

func TestHeadAndManifestType(t *testing.T) {
	up := startManager(t)
	img, d := image(t)
	up.push(t, "spider:0.01", img)
	n := start(t, up.URL, Options{})
	mt, _ := img.MediaType()
	raw, _ := img.RawManifest()
	for _, when := range []string{"cold", "warm"} {
		resp, body, err := n.do(http.MethodHead, "/v2/spider/manifests/"+d.String())
		if err != nil || len(body) != 0 || resp.ContentLength != int64(len(raw)) {
			t.Errorf("%s HEAD: %v, %d bytes of %d", when, err, resp.ContentLength, len(raw))
		}
		resp, body = n.get("/v2/spider/manifests/" + d.String())
		h := resp.Header
		if !bytes.Equal(body, raw) || h.Get("Content-Type") != string(mt) ||
			h.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("%s GET: %v", when, h)
		}
	}
}

// Twenty readers come before, in and after the middle of one download.
func TestOneDownloadForAll(t *testing.T) {
	half := make(chan struct{})
	p := startPipeline(t, 3<<20, func(p *pipeline, w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(p.content)))
		_, _ = w.Write(p.content[:1<<20])
		w.(http.Flusher).Flush()
		<-half
		_, _ = w.Write(p.content[1<<20:])
	})
	n := start(t, p.URL, Options{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if i%2 == 0 {
				n.wantBlob(p)
				return
			}
			resp, body, err := n.do(http.MethodGet, p.path(), "Range", fmt.Sprintf("bytes=%d-", i*100_000))
			if err != nil || resp.StatusCode != http.StatusPartialContent || !bytes.Equal(body, p.content[i*100_000:]) {
				t.Errorf("range: %v, %d bytes", err, len(body))
			}
		})
	}
	waitFor(t, func() error {
		if s := n.Stats(); s.Shared != 19 {
			return fmt.Errorf("%d readers share the download", s.Shared)
		}
		return nil
	})
	close(half)
	wg.Wait()
	if got := p.opened.Load(); got != 1 {
		t.Errorf("%d requests reached the upstream", got)
	}
}

// Bytes flow while the rest is still to come.
func TestStreams(t *testing.T) {
	rest := make(chan struct{})
	p := startPipeline(t, 2<<20, func(p *pipeline, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(p.content)))
		_, _ = w.Write(p.content[:1<<20])
		w.(http.Flusher).Flush()
		<-rest
		_, _ = w.Write(p.content[1<<20:])
	})
	n := start(t, p.URL, Options{})
	resp, err := client().Get("http://" + n.addr + p.path())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ContentLength != int64(len(p.content)) {
		t.Errorf("Content-Length = %d", resp.ContentLength)
	}
	first := make([]byte, 512<<10)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	close(rest)
	body, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(append(first, body...), p.content) {
		t.Errorf("rest: %d bytes, %v", len(body), err)
	}
}
