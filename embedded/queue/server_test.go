package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/embedded/queue/engine"
	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// talk sends raw bytes and returns what comes back until the server is done or
// hangs up.
func talk(t *testing.T, q *queue, send string, lines int) string {
	t.Helper()
	conn, err := net.Dial("tcp", q.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte(send)); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	r := bufio.NewReader(conn)
	for range lines {
		line, err := r.ReadString('\n')
		got.WriteString(line)
		if err != nil {
			break
		}
	}
	return got.String()
}

func TestServer_Password(t *testing.T) {
	t.Parallel()
	q := startQueue(t, testOptions(t.TempDir()))
	quoted := fmt.Sprintf("$%d\r\n%s\r\n", len(testPassword), testPassword)
	for name, tc := range map[string]struct{ send, want string }{
		"none":             {"PING\r\n", "-NOAUTH"},
		"write without":    {"SET k v\r\n", "-NOAUTH"},
		"exec without":     {"EXEC\r\n", "-EXECABORT Transaction discarded because of: NOAUTH"},
		"AUTH":             {"*2\r\n$4\r\nAUTH\r\n" + quoted, "+OK"},
		"AUTH user":        {"*3\r\n$4\r\nauth\r\n$7\r\ndefault\r\n" + quoted, "+OK"},
		"AUTH other user":  {"*3\r\n$4\r\nAUTH\r\n$4\r\nroot\r\n" + quoted, "-WRONGPASS"},
		"AUTH wrong":       {"AUTH sesame\r\n", "-WRONGPASS"},
		"AUTH empty":       {"*2\r\n$4\r\nAUTH\r\n$0\r\n\r\n", "-WRONGPASS"},
		"HELLO AUTH":       {"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n" + quoted, "%7"},
		"HELLO wrong":      {"HELLO 3 AUTH default x\r\n", "-WRONGPASS"},
		"HELLO without":    {"HELLO 3\r\n", "-NOAUTH"},
		"large before":     {"*2\r\n$4\r\nAUTH\r\n$999999999\r\n", "-ERR Protocol error: invalid bulk length"},
		"many before":      {"*999999999\r\n", "-ERR Protocol error: unauthenticated multibulk length"},
		"not the protocol": {"*1\r\n:5\r\n", "-ERR Protocol error"},
		"empty array":      {"*0\r\n*-1\r\n\r\nPING\r\n", "-NOAUTH"},
	} {
		if got := talk(t, q, tc.send, 1); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestServer_PipelineInOneWrite(t *testing.T) {
	t.Parallel()
	q := startQueue(t, testOptions(t.TempDir()))
	send := "*2\r\n$4\r\nAUTH\r\n$11\r\nopen sesame\r\n" + strings.Repeat("INCR n\r\n", 300) + "QUIT\r\nINCR n\r\n"
	got := talk(t, q, send, 1000)
	if !strings.HasPrefix(got, "+OK\r\n:1\r\n") || !strings.HasSuffix(got, ":300\r\n+OK\r\n") {
		t.Errorf("got %q … %q", got[:min(20, len(got))], got[max(0, len(got)-20):])
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(*Options){
		"no password":   func(o *Options) { o.Password = "" },
		"no address":    func(o *Options) { o.Addr = "" },
		"no data":       func(o *Options) { o.Dir = "" },
		"sync interval": func(o *Options) { o.SyncInterval = 2 * time.Second },
	} {
		opts := testOptions("dir")
		spoil(&opts)
		if _, err := New(opts, slog.Default()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestRun_PortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	opts := testOptions(t.TempDir())
	opts.Addr = taken.Addr().String()
	srv, err := New(opts, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Run(context.Background()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("got %v, want that the address is in use", err)
	}
	startQueue(t, testOptions(opts.Dir)) // the directory is free again
}

func TestRun_DamagedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := startQueue(t, testOptions(dir))
	c := q.client(t)
	for i := range 5 {
		c.Set(within(t, 5*time.Second), fmt.Sprint("key", i), "value", 0)
	}
	if err := q.stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "segment-0000000001")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[40] ^= 0xff
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	srv, err := New(testOptions(dir), slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	var corrupt *journal.CorruptError
	if err := srv.Run(context.Background()); !errors.As(err, &corrupt) || corrupt.File != path {
		t.Errorf("got %v, want the damaged file", err)
	}
}

// TestServer_Refuses tells by name what is not served, and what to do.
func TestServer_Refuses(t *testing.T) {
	t.Parallel()
	ctx := within(t, 20*time.Second)
	c := startQueue(t, testOptions(t.TempDir())).client(t)
	for _, name := range []string{
		"EVAL", "EVALSHA", "SCRIPT", "FCALL", "PFADD", "HEXPIRE", "GEOADD", "XADD", "XGROUP", "XREADGROUP", "MOVE",
		"SWAPDB",
		"RESTORE", "DUMP", "SORT", "BITFIELD", "OBJECT", "DEBUG", "MODULE", "REPLICAOF", "SHUTDOWN", "CONFIG SET",
		"CLUSTER", "MONITOR",
	} {
		conn := c.Conn() // a client that goes on asking is slowed down
		var args []any
		for _, arg := range append(strings.Fields(name), "a", "1", "c") {
			args = append(args, arg)
		}
		err := conn.Do(ctx, args...).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "ERR "+name+engine.Refused) {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
	if n := c.DBSize(ctx).Val(); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

// TestServer_AdviceHolds tries what the error of an unknown subcommand advises to try, and
// wants what Redis has and the queue has not refused by name.
func TestServer_AdviceHolds(t *testing.T) {
	t.Parallel()
	ctx := within(t, 20*time.Second)
	c := startQueue(t, testOptions(t.TempDir())).client(t)
	for name, served := range subcommands {
		err := c.Do(ctx, name, "nonsense").Err()
		_, advice, ok := strings.Cut(fmt.Sprint(err), "Try ")
		if !ok {
			t.Errorf("%s nonsense: %v", name, err)
			continue
		}
		var args []any
		for _, arg := range strings.Fields(strings.TrimSuffix(advice, ".")) {
			args = append(args, arg)
		}
		lines, err := c.Do(ctx, args...).StringSlice()
		if err != nil || len(lines) != len(served)+2 {
			t.Errorf("%v: %q, %v", args, lines, err)
		}
		for _, sub := range served {
			if err := c.Do(ctx, name, sub).Err(); err != nil && strings.Contains(err.Error(), "unknown subcommand") {
				t.Errorf("%s has %s and does not know it: %v", args, sub, err)
			}
		}
		if err := c.Do(ctx, name, "help", "x").Err(); err == nil || !strings.Contains(err.Error(), "wrong number") {
			t.Errorf("%s HELP x: %v", name, err)
		}
	}
	for name := range unservedSubcommands {
		command, sub, _ := strings.Cut(name, " ")
		err := c.Do(ctx, command, sub).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "ERR "+name+engine.Refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestServer_SlowsDownWhoGoesOnAsking answers a client that asks again at once for what
// is not served later and later, and others as before.
func TestServer_SlowsDownWhoGoesOnAsking(t *testing.T) {
	t.Parallel()
	for _, cmd := range []string{"EVALSHA", "XADD", "nonsense"} {
		q := startQueue(t, testOptions(t.TempDir()))
		c := q.client(t).Conn()
		ctx := within(t, 20*time.Second)
		for range 15 {
			c.Do(ctx, cmd, "a", "1", "b", "c")
		}
		core := q.core.Load()
		core.mu.Lock()
		slowed := 0
		for _, s := range core.sessions {
			slowed = max(slowed, int(s.unserved.Load()))
		}
		core.mu.Unlock()
		if slowed < 15 {
			t.Errorf("%s: %d commands count as not served", cmd, slowed)
		}
		c.Close()
	}
}
