package api_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/deploy"
)

// records collects what is given to the audit log.
type records struct {
	mu   sync.Mutex
	list []string
}

func (r *records) add(event string, attrs ...slog.Attr) {
	text := event
	for _, a := range attrs {
		text += " " + a.String()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, text)
}

// take returns what came since the last time.
func (r *records) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

func TestHandler_Audit(t *testing.T) {
	t.Parallel()
	var audit records
	_, socket := serveHandler(t, apitest.Handler(apitest.New(now), audit.add, testLog(t)))
	self, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	who := fmt.Sprintf(" uid=%s user=%s gid=%s pid=%d", self.Uid, self.Username, self.Gid, os.Getpid())
	for _, tt := range []struct{ method, path, body, record string }{
		{"GET", "/v1/token?role=worker&secret=hush", "", "path=/v1/token?role=worker" + who + " status=200"},
		{"HEAD", "/v1/token?role=worker", "", "path=/v1/token?role=worker" + who + " status=200"},
		{
			"GET", "/v1/token?role=king", "",
			"path=/v1/token?role=king" + who + ` status=400 error=unknown role "king"; it is worker or manager`,
		},
		{"GET", "/v1/queue/address", "", "path=/v1/queue/address" + who + " status=200"},
		{
			"POST", "/v1/tokens", `{"role":"worker","uses":2}`,
			"path=/v1/tokens role=worker ttl=0s uses=2 token=new7" + who + " status=200",
		},
		{"POST", "/v1/tokens/rotate", "", "path=/v1/tokens/rotate" + who + " status=200"},
		{
			"DELETE", "/v1/tokens/zzzz", "",
			"path=/v1/tokens/zzzz" + who + " status=404 error=unknown token \"zzzz\"; `crawlbox token ls` lists them",
		},
		{"POST", "/v1/registry/accounts/ci", "", "path=/v1/registry/accounts/ci" + who + " status=200"},
		{"POST", "/v1/nodes/h2/drain", "", "path=/v1/nodes/h2/drain" + who + " status=200"},
		{
			"POST", "/v1/scale", `{"replicas":{"broken":2}}`,
			"path=/v1/scale replicas=map[broken:2]" + who +
				" status=500 error=broken: 0 of 2 replicas run; see `crawlbox ps broken`",
		},
		{
			"POST", "/v1/scale", `{`, "path=/v1/scale" + who +
				" status=400 error=cannot read the request: unexpected EOF; the crawlbox that runs here may be " +
				"of another version than this command",
		},
		{
			"POST", "/v1/queue/items", `{"key":"k","items":["hush"]}`,
			"path=/v1/queue/items key=k items=1" + who + " status=200",
		},
		{
			"POST", "/v1/queue/dead/retry", `{"key":"k","items":["hush"]}`,
			"path=/v1/queue/dead/retry key=k items=1" + who + " status=200",
		},
		{
			"POST", "/v1/queue/dead/drop", `{"items":["hush"]}`,
			"path=/v1/queue/dead/drop key= items=1" + who + " status=400 error=no key is named; " +
				"`crawlbox queue dead ls` lists those with dead items",
		},
		{"GET", "/v1/queue/inflight", "", ""},
		{
			"POST", "/v1/build", `{"repository":"r","tag":"1","dockerfile":"aHVzaA==","args":{"A":"hush"},` +
				`"secrets":{"a":"aHVzaA=="},"logins":{"r:5000":{"username":"hush","password":"hush"}}}` + "\n",
			"path=/v1/build repository=r tag=1" + who + " status=200",
		},
		{"DELETE", "/v1/images?ref=spider:0.02", "", "path=/v1/images?ref=spider%3A0.02" + who + " status=200"},
		{"GET", "/v1/status", "", ""},
		{"GET", "/v1/tokens", "", ""},
		{"GET", "/v1/registry/accounts", "", ""},
		{"GET", "/v1/config", "", ""},
		{"GET", "/v1/logs?target=spider", "", ""},
		{"POST", "/v1/nothing", "", ""},
	} {
		ask(t, socket, tt.method, tt.path, tt.body)
		got, want := strings.Join(audit.take(), "\n"), ""
		if tt.record != "" {
			want = "local-api method=" + tt.method + " " + tt.record
		}
		if got != want {
			t.Errorf("%s %s\n got %s\nwant %s", tt.method, tt.path, got, want)
		}
	}
}

// TestHandler_AuditHasNoSecrets makes every call of a client, and compares the
// records with the secrets in the answers.
func TestHandler_AuditHasNoSecrets(t *testing.T) {
	t.Parallel()
	var audit records
	client, _ := serveHandler(t, apitest.Handler(apitest.New(now), audit.add, testLog(t)))
	for _, c := range calls {
		_, _ = c.do(testContext(t), client)
	}
	all := strings.Join(audit.take(), "\n")
	for _, secret := range []string{"CBX1-", "pass of", "s/ecret", "s%2Fecret", "redis://"} {
		if strings.Contains(all, secret) {
			t.Errorf("the audit log has %q:\n%s", secret, all)
		}
	}
	if !strings.Contains(all, "path=/v1/registry/accounts/") || !strings.Contains(all, "path=/v1/leave") {
		t.Errorf("the audit log has only\n%s", all)
	}
}

func TestHandler_AuditOfAClientThatGoesAway(t *testing.T) {
	t.Parallel()
	var audit records
	cluster := apitest.New(now)
	cluster.Hold("spider")
	client, _ := serveHandler(t, apitest.Handler(cluster, audit.add, testLog(t)))
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		_, _ = cluster.AwaitHeld(ctx)
		cancel()
	}()
	_ = client.Scale(ctx, api.ScaleRequest{Replicas: map[string]int{"spider": 9}},
		func(deploy.Progress) error { return nil })
	bound := testContext(t)
	var got []string
	for len(got) == 0 && bound.Err() == nil {
		time.Sleep(time.Millisecond) // the server notices after the client
		got = audit.take()
	}
	if len(got) != 1 || !strings.HasSuffix(got[0], "status=499 error=the client went away") {
		t.Errorf("got %v", got)
	}
}

// TestConnContext_AnotherUser asks as another user, in a process of its own.
func TestConnContext_AnotherUser(t *testing.T) {
	if socket := os.Getenv("CRAWLBOX_TEST_AS_USER"); socket != "" {
		if _, err := api.NewClient(socket).CollectImages(testContext(t)); err != nil {
			t.Fatal(err)
		}
		return
	}
	testenv.Root(t)
	t.Parallel()
	var audit records
	_, socket := serveHandler(t, apitest.Handler(apitest.New(now), audit.add, testLog(t)))
	for path, mode := range map[string]os.FileMode{filepath.Dir(socket): 0o755, socket: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(testContext(t), copySelf(t, filepath.Dir(socket)),
		"-test.run=^TestConnContext_AnotherUser$")
	cmd.Dir = filepath.Dir(socket)
	cmd.Env = []string{"CRAWLBOX_TEST_AS_USER=" + socket, "TMPDIR=/tmp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54322}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := fmt.Sprintf("local-api method=POST path=/v1/images/gc uid=54321 gid=54322 pid=%d status=200",
		cmd.Process.Pid)
	if got := strings.Join(audit.take(), "\n"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestHandler_HidesSecretsOfServices(t *testing.T) {
	t.Parallel()
	_, socket := serve(t, apitest.New(now), testLog(t))
	_, body := ask(t, socket, "GET", "/v1/services/spider", "")
	if strings.Contains(body, "hush") ||
		!strings.Contains(body,
			`"QUEUE=10.77.0.11:7891","REDIS_URL=redis://default:********@10.77.0.11:7891","API_KEY=********"`) {
		t.Errorf("got %s", body)
	}
}
