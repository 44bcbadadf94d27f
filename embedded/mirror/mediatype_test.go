package mirror

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
)

func TestMediaTypeOf(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		`{"schemaVersion":2,"config":{},"layers":[]}`:                                     v1.MediaTypeImageManifest,
		`{"schemaVersion":2,"manifests":[]}`:                                              v1.MediaTypeImageIndex,
		`{"schemaVersion":2,"mediaType":"` + dockerManifest + `","config":{}}`:            dockerManifest,
		`{"schemaVersion":2,"mediaType":"` + dockerIndex + `","manifests":[]}`:            dockerIndex,
		`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageIndex + `","manifests":[]}`: v1.MediaTypeImageIndex,

		`{"schemaVersion":2,"mediaType":"` + dockerIndex + `","config":{},"layers":[]}`:            "",
		`{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageManifest + `","manifests":[]}`:       "",
		`{"schemaVersion":2,"mediaType":"` + dockerManifest + `","config":{},"manifests":[]}`:      "",
		`{"schemaVersion":2,"mediaType":"text/html","config":{},"layers":[]}`:                      "",
		`{"schemaVersion":2,"mediaType":"` + dockerManifest + `\r\nX: y","config":{},"layers":[]}`: "",
		`{"schemaVersion":2}`:             "",
		`{"schemaVersion":1,"config":{}}`: "",
		`<html>`:                          "",
		``:                                "",
		`{"schemaVersion":2,"config":{}} trailing`: "",
	} {
		if got, err := MediaTypeOf([]byte(content)); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", content, got, err, want)
		}
	}
}

// liar is a manager that may be away, and then a node that says it has what is asked
// for, with headers of its own.
type liar struct {
	away    atomic.Bool
	content string
	header  http.Header
}

func (l *liar) Open(_ context.Context, method, _ string, _ http.Header) (*http.Response, bool, error) {
	header := http.Header{"Content-Type": {v1.MediaTypeImageManifest}}
	if l.away.Load() {
		header = l.header
	}
	body := l.content
	if method == http.MethodHead {
		body = ""
	}
	return &http.Response{
		StatusCode:    200,
		Header:        header,
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
	}, l.away.Load(), nil
}

// TestStandIn_HeadersAreNotBelieved: of a node that stands in for the manager only what
// the digest vouches for is taken, now and later.
func TestStandIn_HeadersAreNotBelieved(t *testing.T) {
	t.Parallel()
	src := &liar{
		content: `{"schemaVersion":2,"config":{},"layers":[]}`,
		header: http.Header{
			"Content-Type":          {"text/html"},
			"Docker-Content-Digest": {"sha256:" + strings.Repeat("0", 64)},
			"Content-Length":        {"1"},
			"Link":                  {"<https://evil/>"},
		},
	}
	path := "/v2/spider/manifests/" + digest.FromString(src.content).String()
	for _, first := range []string{http.MethodHead, http.MethodGet} {
		n := start(t, "", Options{Source: src})
		for _, away := range []bool{true, false} {
			src.away.Store(away)
			for _, method := range []string{first, http.MethodGet, http.MethodHead} {
				resp, body, err := n.do(method, path)
				if err != nil {
					t.Fatal(err)
				}
				h := resp.Header
				if h.Get("Content-Type") != v1.MediaTypeImageManifest ||
					!strings.HasSuffix(path, h.Get("Docker-Content-Digest")) || h.Get("Link") != "" {
					t.Errorf("%s, manager away %v: %v", method, away, h)
				}
				if method == http.MethodGet && string(body) != src.content {
					t.Errorf("%s: %q", method, body)
				}
			}
		}
	}
}

// TestStandIn_OnlyContent: nobody else answers in the manager's place where no digest
// vouches for the answer.
func TestStandIn_OnlyContent(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	evil := startPipeline(t, 1, func(_ *pipeline, w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusOK)
	})
	src := &HTTPSource{Client: client(), OthersClient: client(),
		Bases:  func() []string { return []string{"http://127.0.0.1:1"} },
		Others: func() []string { return []string{evil.URL} }}
	d := digest.FromString("x").String()
	for path, method := range map[string]string{
		"/v2/spider/referrers/" + d:  http.MethodGet,
		"/v2/spider/manifests/1":     http.MethodGet,
		"/v2/spider/tags/list?n=1:1": http.MethodGet,
		"/v2/spider/blobs/" + d:      http.MethodHead,
		"/v2/spider/manifests/" + d:  http.MethodHead,
	} {
		if resp, _, err := src.Open(t.Context(), method, path, nil); err == nil {
			resp.Body.Close()
			t.Errorf("%s %s is answered by a node in the manager's place", method, path)
		}
	}
	if asked.Load() != 0 {
		t.Errorf("it was asked %d times", asked.Load())
	}
	if resp, standIn, err := src.Open(t.Context(), http.MethodGet, "/v2/spider/blobs/"+d, nil); err != nil || !standIn {
		t.Errorf("a blob by its digest: %v", err)
	} else {
		resp.Body.Close()
	}
}

// TestKeptMediaType: a cache that another version filled with a lie is as good as any.
func TestKeptMediaType(t *testing.T) {
	t.Parallel()
	content := `{"schemaVersion":2,"config":{},"layers":[]}`
	src := &liar{content: content}
	n := start(t, "", Options{Source: src})
	d := digest.FromString(content)
	n.get("/v2/spider/manifests/" + d.String())
	if err := os.WriteFile(n.cache.Path(cache.Manifest(d)), []byte("text/html\n"+content), 0o600); err != nil {
		t.Fatal(err)
	}
	resp, _ := n.get("/v2/spider/manifests/" + d.String())
	if got := resp.Header.Get("Content-Type"); got != v1.MediaTypeImageManifest {
		t.Errorf("Content-Type %q", got)
	}
}
