package queue

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	childDir      = "CRAWLBOX_QUEUE_TEST_DIR"
	childRewrites = "CRAWLBOX_QUEUE_TEST_REWRITES"
)

// runChild turns the test binary into a queue with its defaults, or one that rewrites
// its journal all the time.
func runChild() {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	opts := Options{Addr: "127.0.0.1:0", Password: testPassword, Dir: dir}
	if os.Getenv(childRewrites) != "" {
		opts.RewriteSize = 64 << 10
	}
	Tune(opts.MaxMemory)
	srv, err := New(opts, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err == nil {
		go func() {
			<-srv.Ready()
			fmt.Println(srv.Addr())
		}()
		err = srv.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// startChild starts such a process, which shares neither memory nor garbage collection
// with the test.
func startChild(t testing.TB, dir string, env ...string) (*exec.Cmd, redisServer) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childDir+"="+dir), env...)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the queue did not start: %v", err)
	}
	return cmd, redisServer{addr: strings.TrimSpace(addr), password: testPassword, pid: cmd.Process.Pid}
}

func (s redisServer) client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.addr, Password: s.password, MaxRetries: -1})
	t.Cleanup(func() { c.Close() })
	return c
}

// TestServer_Killed kills a queue in the middle of writes, several times over
// the same directory. At most a second of what was acknowledged is lost, and nothing
// is out of order.
func TestServer_Killed(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	dir := t.TempDir()
	next := 0 // the number of the next item
	for round := range 4 {
		child, server := startChild(t, dir, childRewrites+"=1")
		c := server.client(t)
		var acked []time.Time
		first := next
		kill := time.AfterFunc(time.Duration(900+round*333)*time.Millisecond,
			func() { child.Process.Signal(syscall.SIGKILL) })
		for {
			_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.RPush(ctx, "jobs", next)
				p.Set(ctx, "last", next, 0)
				return nil
			})
			if err != nil {
				break
			}
			acked = append(acked, time.Now())
			next++
		}
		kill.Stop()
		child.Wait()

		again, server := startChild(t, dir, childRewrites+"=1")
		c = server.client(t)
		items := c.LRange(ctx, "jobs", 0, -1).Val()
		for i, item := range items {
			if item != fmt.Sprint(i) {
				t.Fatalf("round %d: item %d is %q", round, i, item)
			}
		}
		if last := c.Get(ctx, "last").Val(); last != fmt.Sprint(len(items)-1) {
			t.Fatalf("round %d: half a transaction: last is %s of %d items", round, last, len(items))
		}
		if len(items) > next+1 {
			t.Fatalf("round %d: %d items, sent were %d", round, len(items), next+1)
		}
		if lost := len(items) - first; lost < len(acked) {
			if span := acked[len(acked)-1].Sub(acked[lost]); span > time.Second {
				t.Errorf("round %d: %v of writes are lost", round, span)
			}
		}
		t.Logf("round %d: %d acknowledged, %d kept", round, next, len(items))
		next = len(items)
		again.Process.Signal(syscall.SIGKILL)
		again.Wait()
	}
}
