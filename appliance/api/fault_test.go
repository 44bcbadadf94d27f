package api_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/deploy"
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
		if !errors.Is(err, api.ErrNotRunning) || !strings.Contains(err.Error(), socket) {
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
	testenv.Root(t)
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

// panicking is a cluster with faults of its own.
type panicking struct{ apitest.Backend }

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
	if status, body := ask(t, socket, "GET", "/v1/nodes", ""); status != 500 ||
		!strings.Contains(body, `"internal","message":"plain"`) {
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
	err := client.Scale(ctx, api.ScaleRequest{Replicas: map[string]int{"spider": 9}}, func(deploy.Progress) error {
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

func (o observed) Scale(ctx context.Context, req api.ScaleRequest, fn func(deploy.Progress) error) error {
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
type dying struct{ apitest.Backend }

func (dying) Logs(_ context.Context, _ api.LogQuery, fn func(api.LogLine) error) error {
	_ = fn(api.LogLine{Text: "first"})
	panic(http.ErrAbortHandler)
}
