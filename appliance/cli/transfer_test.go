package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// transferEnv is a cluster whose queue is a redis-server, and another one beside it with a password.
type transferEnv struct {
	*testing.T
	socket, url, addr string
	queue, other      *redis.Client
}

func newTransfer(t *testing.T, settings ...string) *transferEnv {
	t.Helper()
	queue, other := testenv.Redis(t, settings...), testenv.Redis(t, "--requirepass", "geheim")
	cluster := apitest.New(clitest.Now)
	cluster.QueueAt("redis://" + queue)
	socket, stop, err := clitest.Serve(cluster)
	if err != nil {
		t.Fatal(err)
	}
	e := &transferEnv{
		T:      t,
		socket: socket,
		url:    "redis://:geheim@" + other,
		addr:   other,
		queue:  redis.NewClient(&redis.Options{Addr: queue}),
		other:  redis.NewClient(&redis.Options{Addr: other, Password: "geheim"}),
	}
	t.Cleanup(func() {
		stop()
		e.queue.Close()
		e.other.Close()
	})
	return e
}

// run runs a command of the queue, and wants an exit code and words on one of its outputs.
func (e *transferEnv) run(ctx context.Context, code int, words string, args ...string) (out string) {
	e.Helper()
	var stdout, stderr bytes.Buffer
	got := execute(ctx, command.Env{
		Stdin:  strings.NewReader(e.url + "\n"),
		Stdout: &stdout,
		Stderr: &stderr,
		Now:    func() time.Time { return clitest.Now },
	}, append([]string{"--socket", e.socket, "queue"}, args...))
	if got != code || !strings.Contains(stdout.String()+stderr.String(), words) {
		e.Errorf("%q: exit code %d, %q and %q; want %d, %q", args, got, stdout.String(), stderr.String(), code, words)
	}
	if said := stderr.String(); strings.Contains(said, "geheim") || len(testenv.Raw(said)) > 0 ||
		code != exitDone && !strings.HasPrefix(said, "crawlbox: ") {
		e.Errorf("%q: %q", args, said)
	}
	return stdout.String()
}

// TestTransfer imports and exports, with the URL from each place that may have it.
func TestTransfer(t *testing.T) {
	e := newTransfer(t)
	ctx := t.Context()
	e.other.RPush(ctx, "urls", "a", "b", "c")
	e.other.Set(ctx, "stats", "x", time.Hour)
	e.run(ctx, exitDone, "imported 1 key from "+e.addr+": 3 items, 3B, in 0.0s\n", "import", e.url, "--keys", "urls")
	e.run(ctx, exitFailed, "has 1 key that would be overwritten, so nothing was copied: urls; --replace overwrites\n",
		"import", "--url-file", "-")
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte("\ufeff"+e.url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.other.XAdd(ctx, &redis.XAddArgs{Stream: "events", Values: []any{"a", "b"}})
	var is struct{ Keys, Items, Bytes int }
	out := e.run(ctx, exitDone, "", "import", "--url-file", file, "--replace", "--json")
	if err := json.Unmarshal([]byte(out), &is); err != nil || is.Keys != 3 || is.Items != 5 {
		t.Errorf("JSON is %s, %v", out, err)
	}
	if got := e.queue.LRange(ctx, "urls", 0, -1).Val(); fmt.Sprint(got) != "[a b c]" {
		t.Errorf("the queue has %q", got)
	}

	e.queue.RPush(ctx, "crawlbox:held:x", "a")
	e.queue.RPush(ctx, "urls", "d")
	t.Setenv("CRAWLBOX_REDIS_URL", e.url)
	e.run(ctx, exitDone, "exported 3 keys to "+e.addr+": 6 items, ", "export", "--replace")
	if got := e.other.LRange(ctx, "urls", 0, -1).Val(); fmt.Sprint(got) != "[a b c d]" {
		t.Errorf("the other server has %q", got)
	}
	e.run(ctx, exitDone, "; 1 key of the queue itself left out\n", "export", "--replace")
	e.run(ctx, exitUsage, "the URL is given by an argument and by CRAWLBOX_REDIS_URL; keep one", "export", e.url)
	t.Setenv("CRAWLBOX_REDIS_URL", "")
	e.run(ctx, exitUsage, "needs the URL of a Redis server", "export")
	e.run(ctx, exitFailed, "that is no URL of a Redis server: write it as redis://", "export", "http://geheim@example")
	e.run(ctx, exitFailed, "wants a password", "import", "redis://"+e.addr)
	e.run(ctx, exitFailed, "connection refused", "import", "redis://127.0.0.1:1")
	e.run(ctx, exitFailed, "there is no certificate in "+file, "import", e.url, "--ca", file)
	done, cancel := context.WithCancel(ctx)
	cancel()
	e.run(done, exitFailed, "crawlbox: interrupted\n", "import", e.url)
}

// TestTransfer_LeftOut wants what was not copied in one line, and a failure.
func TestTransfer_LeftOut(t *testing.T) {
	t.Parallel()
	e := newTransfer(t, "--rename-command", "RESTORE", "")
	e.other.XAdd(t.Context(), &redis.XAddArgs{Stream: "events", Values: []any{"a", "b"}})
	e.other.Set(t.Context(), "stats", "x", 0)
	e.run(t.Context(), exitFailed, "crawlbox: 1 key left out, which "+e.queue.Options().Addr+
		" has no type for, or none of that version: events (stream)\n", "import", e.url)
	if n := e.queue.DBSize(t.Context()).Val(); n != 1 {
		t.Errorf("%d keys are there", n)
	}
}

// TestTransfer_Progress wants a terminal to show how far it is, and nothing of that in the end.
func TestTransfer_Progress(t *testing.T) {
	t.Setenv("TERM", "xterm")
	e := newTransfer(t)
	for range 200 {
		e.other.RPush(t.Context(), "urls", bytes.Repeat([]byte("x"), 1<<20))
	}
	tty, shown := clitest.OpenTerminal(t, 120, 50)
	code := execute(t.Context(), command.Env{Stdin: tty, Stdout: tty, Stderr: tty},
		[]string{"--socket", e.socket, "queue", "import", e.url})
	text := shown()
	last := clitest.Display(text)
	if code != exitDone || !strings.Contains(text, "importing 0 of 1 key, ") || len(last) != 1 ||
		!strings.HasPrefix(last[0], "imported 1 key from ") {
		t.Errorf("exit code %d, the terminal shows %q after %.2000q", code, last, text)
	}
}
