package api_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
)

func TestHandler_RefusesBadRequests(t *testing.T) {
	t.Parallel()
	_, socket := serve(t, apitest.New(now), testLog(t))
	tests := []struct {
		name, method, path, body string
		status                   int
		says                     string
	}{
		{"unknown call", "GET", "/v1/nothing", "", 404, "no such call: GET /v1/nothing"},
		{"wrong method", "PUT", "/v1/status", "", 404, "no such call: PUT /v1/status"},
		{"unknown field", "POST", "/v1/scale", `{"replicas":{"spider":1},"x":1}`, 400, `unknown field \"x\"`},
		{"wrong type", "POST", "/v1/scale", `{"replicas":{"spider":"1"}}`, 400, "cannot read the request"},
		{"cut off", "POST", "/v1/scale", `{"replicas":`, 400, "cannot read the request"},
		{"two values", "POST", "/v1/scale", `{"replicas":{"spider":1}}{}`, 400, "more than one value"},
		{"no services", "POST", "/v1/scale", `{}`, 400, "at least one service"},
		{"negative", "POST", "/v1/scale", `{"replicas":{"spider":-1}}`, 400, "0 or more"},
		{"too large", "POST", "/v1/queue/items", `{"key":"` + strings.Repeat("x", api.MaxBody) + `"}`, 400, "larger than"},
		{"no items", "POST", "/v1/queue/items", `{"key":"k"}`, 400, "needs a key and items"},
		{"no image", "POST", "/v1/update", `{"service":"spider"}`, 400, "needs a service and an image"},
		{"no key", "GET", "/v1/queue/items", "", 400, "key is missing"},
		{"no key to clear", "DELETE", "/v1/queue/items", "", 400, "key is missing"},
		{"bad count", "GET", "/v1/queue/items?key=k&n=x", "", 400, "whole number"},
		{"negative count", "GET", "/v1/queue/items?key=k&n=-1", "", 400, "0 or more"},
		{"bad verb", "POST", "/v1/nodes/h1/explode", "", 400, "explode"},
		{"bad force", "DELETE", "/v1/nodes/h1?force=maybe", "", 400, "true or false"},
		{"bad force to leave", "POST", "/v1/leave?force=maybe", "", 400, "true or false"},
		{"bad all", "GET", "/v1/tasks?all=maybe", "", 400, "true or false"},
		{"bad role", "GET", "/v1/token?role=king", "", 400, "worker or manager"},
		{"no image to remove", "DELETE", "/v1/images", "", 400, "ref is missing"},
		{"no target", "GET", "/v1/logs", "", 400, "target is missing"},
		{"bad tail", "GET", "/v1/logs?target=spider&tail=x", "", 400, "whole number"},
		{"bad follow", "GET", "/v1/logs?target=spider&follow=x", "", 400, "true or false"},
		{"bad since", "GET", "/v1/logs?target=spider&since=yesterday", "", 400, "must be a time"},
	}
	for _, tt := range tests {
		status, body := ask(t, socket, tt.method, tt.path, tt.body)
		if status != tt.status || !strings.Contains(body, tt.says) || !strings.HasPrefix(body, `{"code":"`) {
			t.Errorf("%s: got %d %s, want %d and %s", tt.name, status, body, tt.status, tt.says)
		}
	}
}

func TestHandler_Defaults(t *testing.T) {
	t.Parallel()
	_, socket := serve(t, apitest.New(now), testLog(t))
	for path, lines := range map[string]int{"/v1/logs?target=spider": 6, "/v1/queue/items?key=robots": 1} {
		status, body := ask(t, socket, "GET", path, "")
		if status != 200 || strings.Count(body, "\n") != lines {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestHandler_StreamEndsWithItsError(t *testing.T) {
	t.Parallel()
	_, socket := serve(t, apitest.New(now), testLog(t))
	_, body := ask(t, socket, "POST", "/v1/scale", `{"replicas":{"broken":1}}`)
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if len(lines) != 3 || !strings.Contains(lines[2], `"error":{"code":"failed"`) {
		t.Errorf("got %s", body)
	}
}

func ask(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	c := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(testContext(t), method, "http://crawlbox"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func FuzzHandler_Bodies(f *testing.F) {
	for _, seed := range []string{`{"service":"spider","image":"x/spider:0.02"}`, `{"key":"k","items":["a"]}`, `null`, `[`, ``} {
		f.Add(seed)
	}
	h := api.Handler(apitest.New(now), slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/v1/update", "/v1/queue/items"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
			for line := range strings.Lines(w.Body.String()) {
				if !json.Valid([]byte(line)) {
					t.Errorf("%s: %q answers %q", path, body, line)
				}
			}
			if w.Code == http.StatusInternalServerError {
				t.Errorf("%s: %q is a fault of ours: %s", path, body, w.Body)
			}
		}
	})
}
