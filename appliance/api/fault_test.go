package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestClient_NobodyServes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()

	for name, socket := range map[string]string{
		"no socket":           filepath.Join(dir, "none"),
		"a file":              file,
		"a socket left alone": stale,
	} {
		_, err := api.NewClient(socket).Status(testContext(t))
		if !errors.Is(err, api.ErrNotRunning) || !strings.Contains(err.Error(), socket) || !strings.Contains(err.Error(), "crawlbox manager") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClient_NoPermission asks as another user, in a process of its own: root
// may open every socket.
func TestClient_NoPermission(t *testing.T) {
	if socket := os.Getenv("CRAWLBOX_TEST_SOCKET"); socket != "" {
		_, err := api.NewClient(socket).Status(testContext(t))
		if err == nil || !strings.Contains(err.Error(), "no permission for "+socket) {
			t.Fatalf("got %v", err)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Fatal("needs root, to ask as another user")
	}
	t.Parallel()
	_, socket := serve(t, apitest.New(now), testLog(t))
	for path, mode := range map[string]os.FileMode{filepath.Dir(socket): 0o755, socket: 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	self := copySelf(t, filepath.Dir(socket))
	cmd := exec.CommandContext(testContext(t), self, "-test.run=^TestClient_NoPermission$", "-test.v")
	cmd.Dir = filepath.Dir(socket)
	cmd.Env = []string{"CRAWLBOX_TEST_SOCKET=" + socket, "TMPDIR=/tmp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestClient_NoPermission")) {
		t.Fatalf("asked as nobody: %v\n%s", err, out)
	}
}

// copySelf copies the test binary to where everybody may run it.
func copySelf(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "self")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

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

// panicking is a cluster with faults of its own.
type panicking struct{ api.Backend }

func (panicking) Status(context.Context) (api.Status, error) { panic("boom") }

func (panicking) Logs(_ context.Context, _ api.LogQuery, fn func(api.LogLine) error) error {
	_ = fn(api.LogLine{Text: "first"})
	panic("boom")
}

func (panicking) Nodes(context.Context) ([]fleet.Node, error) { return nil, errors.New("plain") }

func TestHandler_Panic(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	client, socket := serve(t, panicking{apitest.New(now)}, slog.New(slog.NewTextHandler(&log, nil)))
	for name, do := range map[string]func() error{
		"before the answer": func() error { _, err := client.Status(testContext(t)); return err },
		"in a stream": func() error {
			return client.Logs(testContext(t), api.LogQuery{Target: "x"}, func(api.LogLine) error { return nil })
		},
	} {
		var e *api.Error
		if err := do(); !errors.As(err, &e) || e.Code != api.CodeInternal || strings.Contains(e.Message, "boom") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := strings.Count(log.String(), `panic=boom`); n != 2 || !strings.Contains(log.String(), "fault_test.go") {
		t.Errorf("log: %s", log.String())
	}
	if status, body := ask(t, socket, "GET", "/v1/nodes", ""); status != 500 || !strings.Contains(body, `"internal","message":"plain"`) {
		t.Errorf("a plain error: %d %s", status, body)
	}
}

func TestHandler_ClientGoesAway(t *testing.T) {
	t.Parallel()
	cluster := apitest.New(now)
	cluster.Hold("spider")
	ended := make(chan error, 1)
	client, _ := serve(t, observed{cluster, ended}, testLog(t))
	ctx, cancel := context.WithCancel(testContext(t))
	first := make(chan struct{}, 1)
	go func() {
		<-first
		if _, err := cluster.AwaitHeld(ctx); err == nil {
			cancel()
		}
	}()
	err := client.Scale(ctx, api.ScaleRequest{Replicas: map[string]int{"spider": 9}}, func(api.Event) error {
		first <- struct{}{}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("client: %v", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("backend: %v", err)
		}
	case <-testContext(t).Done():
		t.Error("the call of the backend goes on")
	}
}

// observed tells how the scale of a cluster ended.
type observed struct {
	*apitest.Cluster
	ended chan error
}

func (o observed) Scale(ctx context.Context, req api.ScaleRequest, fn func(api.Event) error) error {
	err := o.Cluster.Scale(ctx, req, fn)
	o.ended <- err
	return err
}

func TestClient_ServerDiesInAStream(t *testing.T) {
	t.Parallel()
	client, _ := serve(t, dying{apitest.New(now)}, testLog(t))
	err := client.Logs(testContext(t), api.LogQuery{Target: "x"}, func(api.LogLine) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "in the middle of its answer") {
		t.Errorf("got %v", err)
	}
}

// dying breaks its connection off, as a killed process does.
type dying struct{ api.Backend }

func (dying) Logs(_ context.Context, _ api.LogQuery, fn func(api.LogLine) error) error {
	_ = fn(api.LogLine{Text: "first"})
	panic(http.ErrAbortHandler)
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
