//go:build tcl

package front

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// tclUnits are parts of Valkey's own tests.
var tclUnits = []string{
	"unit/type/list", "unit/type/list-2", "unit/type/list-3", "unit/type/zset", "unit/type/set", "unit/type/hash",
	"unit/type/string", "unit/type/stream", "unit/type/stream-cgroups", "unit/expire", "unit/multi", "unit/scripting",
	"unit/pubsub",
}

const tclPassword = "open-sesame"

// logsIn is a test that makes a user in the engine and logs in as that, which clients of a front can't.
const logsIn = "Script ACL check"

// TestTcl runs Valkey's own tests, of the source with built programs that VALKEY names, against an external server:
// that Valkey alone, and the same through a front. What fails through the front has to fail without it too.
func TestTcl(t *testing.T) {
	dir := os.Getenv("VALKEY")
	if _, err := os.Stat(filepath.Join(dir, "src/valkey-server")); err != nil {
		t.Fatalf("VALKEY has to name a directory with Valkey's source in which make was run: %v", err)
	}
	for _, unit := range tclUnits {
		t.Run(unit, func(t *testing.T) {
			alone := runTcl(t, dir, startTcl(t, dir), unit)
			behind := runTcl(t, dir, startRelay(t, startTcl(t, dir)), unit)
			if behind.passed == 0 {
				t.Errorf("no test was passed through the front")
			}
			for _, name := range behind.failed {
				if !slices.Contains(alone.failed, name) {
					t.Errorf("fails through the front alone: %s", name)
				}
			}
			t.Logf("%d passed through the front, %d without; %d and %d failed", behind.passed, alone.passed,
				len(behind.failed), len(alone.failed))
		})
	}
}

// startTcl starts a Valkey and returns its port.
func startTcl(t *testing.T, dir string) (port string) {
	port = strconv.Itoa(int(testenv.FreeAddr(t).Port()))
	cmd := exec.Command(filepath.Join(dir, "src/valkey-server"), "--bind", "127.0.0.1", "--port", port, "--save", "",
		"--dir", t.TempDir(), "--enable-debug-command", "yes", "--loglevel", "warning")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		_ = cmd.Wait()
	})
	waitUntil(t, func() error {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return port
}

// startRelay starts a front before a server, and before that something that logs in: the tests have no password.
func startRelay(t *testing.T, engine string) (port string) {
	f, err := New(Options{
		Addr: "127.0.0.1:0", Password: tclPassword, Unrestricted: true,
		Engine: Engine{Name: engine, Dial: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", "127.0.0.1:"+engine)
		}},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = f.Run(ctx) })
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { relay(conn, f.Addr()) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		group.Wait()
	})
	<-f.Ready()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func relay(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	_, _ = io.WriteString(server, "AUTH "+tclPassword+"\r\n")
	if _, err := io.CopyN(io.Discard, server, int64(len("+OK\r\n"))); err != nil {
		return
	}
	var group sync.WaitGroup
	group.Go(func() { pour(server, client) })
	group.Go(func() { pour(client, server) })
	group.Wait()
}

func pour(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.(*net.TCPConn).CloseWrite()
}

// outcome is what came of tests.
type outcome struct {
	passed int
	failed []string // names
}

var (
	tclColours = regexp.MustCompile(`\x1b\[[0-9;]*m`)
	tclResult  = regexp.MustCompile(`^\[(ok|err|exception|timeout)\]: (.*?)(?: in (?:tests/|\[)?.*)?(?: \(\d+ ms\))?$`)
)

// runTcl runs tests against the server at a port.
func runTcl(t *testing.T, dir, port, unit string) (o outcome) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "tclsh", "tests/test_helper.tcl", "--host", "127.0.0.1", "--port", port, "--single",
		unit, "--clients", "1", "--skiptest", logsIn)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(tclColours.ReplaceAllString(string(out), "")) {
		found := tclResult.FindStringSubmatch(strings.TrimSpace(line))
		switch {
		case found == nil:
		case found[1] == "ok":
			o.passed++
		default:
			o.failed = append(o.failed, found[2])
		}
	}
	if err != nil && len(o.failed) == 0 {
		o.failed = append(o.failed, err.Error())
		t.Logf("%s", out[max(0, len(out)-2000):])
	}
	return o
}
