package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/deploy"
)

// FuzzHandler sends anything: no request panics, is a fault of crawlbox, or is
// answered by what is not JSON.
func FuzzHandler(f *testing.F) {
	for _, seed := range []struct{ method, target, body string }{
		{"GET", "/v1/status", ""},
		{"HEAD", "/v1/token?role=worker", ""},
		{"POST", "/v1/tokens", `{"role":"worker","ttl_ns":1000000000,"uses":2}`},
		{"POST", "/v1/tokens/rotate?role=", "null"},
		{"DELETE", "/v1/tokens/aaaa", ""},
		{"POST", "/v1/registry/accounts/a%2F..", ""},
		{"POST", "/v1/nodes/h2/drain", ""},
		{"DELETE", "/v1/nodes/h2?force=true&force=x;%zz", ""},
		{"GET", "/v1/logs?target=spider&tail=-9&since=2006-01-02T15:04:05Z", ""},
		{"POST", "/v1/update", `{"service":"spider","image":"x/spider:0.02"}`},
		{"POST", "/v1/scale", `{"replicas":{"spider":3}}`},
		{"POST", "/v1/queue/items", `{"key":"k","items":["a"]}`},
		{"POST", "/v1/build", `{"repository":"r","dockerfile":"RlJPTSB4","secrets":{"a":"aHVzaA=="}}` + "\nfiles"},
		{"CONNECT", "/", "["},
		{"GET", "/v1/../v1/nodes", ""},
	} {
		f.Add(seed.method, seed.target, seed.body)
	}
	var log bytes.Buffer
	audit := func(_ string, attrs ...slog.Attr) {
		for _, a := range attrs {
			_ = a.String()
		}
	}
	f.Fuzz(func(t *testing.T, method, target, body string) {
		req := request(method, target, body)
		if req == nil {
			return
		}
		log.Reset()
		h := apitest.Handler(bounded{apitest.New(now)}, audit, slog.New(slog.NewTextHandler(&log, nil)))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if log.Len() > 0 || w.Code == http.StatusInternalServerError &&
			!strings.Contains(w.Body.String(), `"code":"failed"`) {
			t.Errorf("%s %q %q is a fault of ours: %d %s %s", method, target, body, w.Code, w.Body, log.String())
		}
		if w.Code/100 == 3 {
			return // net/http's own answer to a path with dots
		}
		for line := range strings.Lines(w.Body.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%s %q %q answers %q", method, target, body, line)
			}
		}
	})
}

// bounded is a cluster that does not take its time to start a million replicas.
type bounded struct{ *apitest.Cluster }

func (b bounded) Scale(ctx context.Context, req api.ScaleRequest, fn func(deploy.Progress) error) error {
	for _, n := range req.Replicas {
		if n > 100 {
			return &api.Error{Code: api.CodeInvalid, Message: "too many"}
		}
	}
	return b.Cluster.Scale(ctx, req, fn)
}

// request returns what a server would have read, or nil where it would have refused.
func request(method, target, body string) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") {
		return nil
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://crawlbox/", strings.NewReader(body))
	if err != nil {
		return nil
	}
	req.URL, req.RequestURI, req.Body = u, target, io.NopCloser(strings.NewReader(body))
	return req
}
