package swarm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// Roles of a child of the test binary. Each says on its standard output what
// the test waits for, and ends with its standard input.
const (
	roleEnv   = "SWARM_TEST_ROLE" // NETWORK ADDRESS
	serveUnix = "unix"            // serve at a path
	serveTCP  = "tcp"             // serve at an address
	inherited = "inherited"       // serve on the listener that it was given
	asks      = "ask"             // ask who is the engine at an address
)

func TestMain(m *testing.M) {
	role, addr, child := strings.Cut(os.Getenv(roleEnv), " ")
	if !child {
		os.Exit(m.Run())
	}
	said, err := play(role, addr)
	if err != nil {
		said = err.Error()
	}
	fmt.Println(said)
	io.Copy(io.Discard, os.Stdin)
}

// play does what a role is and returns what the test waits for.
func play(role, addr string) (string, error) {
	switch role {
	case asks:
		return ask(addr)
	case inherited:
		ln, err := net.FileListener(os.NewFile(3, "listener"))
		return serveAsEngine(ln, err)
	}
	ln, err := net.Listen(role, addr)
	return serveAsEngine(ln, err)
}

func ask(host string) (string, error) {
	e, err := Open(host)
	if err != nil {
		return "", err
	}
	defer e.Close()
	pid, err := e.Process(context.Background())
	return fmt.Sprint(pid), err
}

// serveAsEngine answers pings, as much of an engine as Process needs.
func serveAsEngine(ln net.Listener, err error) (string, error) {
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "OK") })
	go http.Serve(ln, mux)
	return ln.Addr().String(), nil
}

// child starts a process with a role, in new namespaces where flags say so, and
// returns what it says.
func child(t *testing.T, role, addr string, flags uintptr, files ...*os.File) (pid int, said string) {
	t.Helper()
	if flags != 0 {
		testenv.Root(t)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+role+" "+addr)
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	said, err = bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("child that is to %s: %v", role, err)
	}
	return cmd.Process.Pid, strings.TrimSpace(said)
}

func open(t *testing.T, host string) *Engine {
	t.Helper()
	e, err := Open(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func wantProcess(t *testing.T, host string, want int) {
	t.Helper()
	if got, err := open(t, host).Process(t.Context()); err != nil || got != want {
		t.Errorf("got process %d, %v; want %d", got, err, want)
	}
}

func TestProcess_UnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "docker.sock")
	pid, _ := child(t, serveUnix, path, 0)
	wantProcess(t, "unix://"+path, pid)
}

// TestProcess_ListenerMadeByAnother is Docker started by docker.socket: systemd
// has made the listener, dockerd serves it.
func TestProcess_ListenerMadeByAnother(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "docker.sock")
	ln := listenUnix(t, path)
	f, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pid, _ := child(t, inherited, "", 0, f)
	wantProcess(t, "unix://"+path, pid)
}

func TestProcess_TCP(t *testing.T) {
	t.Parallel()
	pid, addr := child(t, serveTCP, "127.0.0.1:0", 0)
	wantProcess(t, "tcp://"+addr, pid)
}

// TestProcess_BelowThisPIDNamespace takes an engine that knows itself as
// process 1.
func TestProcess_BelowThisPIDNamespace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "docker.sock")
	pid, _ := child(t, serveUnix, path, syscall.CLONE_NEWPID)
	wantProcess(t, "unix://"+path, pid)
}

// TestProcess_OutsideThisPIDNamespace asks from a container, so to say, for an
// engine that has no number there.
func TestProcess_OutsideThisPIDNamespace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "docker.sock")
	if _, err := serveAsEngine(listenUnix(t, path), nil); err != nil {
		t.Fatal(err)
	}
	_, said := child(t, asks, "unix://"+path, syscall.CLONE_NEWPID)
	if !strings.Contains(said, path) || !strings.Contains(said, "another PID namespace") ||
		!strings.Contains(said, "--pid=host") {
		t.Errorf("got %q", said)
	}
}

func TestProcess_NobodyThere(t *testing.T) {
	t.Parallel()
	nobody := listenTCP(t)
	nobody.Close()
	for _, host := range []string{"unix://" + filepath.Join(t.TempDir(),
		"none.sock"), "tcp://" + nobody.Addr().String()} {
		_, err := open(t, host).Process(t.Context())
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), host) {
			t.Errorf("%s: got %v", host, err)
		}
	}
}

// TestProcess_NeverAnswers has engines that hang: they are connected to, by the
// kernel, and say nothing.
func TestProcess_NeverAnswers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "docker.sock")
	listenUnix(t, path)
	for _, host := range []string{"unix://" + path, "tcp://" + listenTCP(t).Addr().String()} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := open(t, host).Process(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want the deadline", host, err)
		}
	}
}

func TestProcess_NoEngineAnswers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "docker.sock")
	over := map[string]net.Listener{"unix://" + path: listenUnix(t, path)}
	tcp := listenTCP(t)
	over["tcp://"+tcp.Addr().String()] = tcp
	for host, ln := range over {
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return // the test is over
			}
			defer c.Close()
			io.ReadFull(c, make([]byte, len(ping)))
			io.WriteString(c, "220 mail.example.com ESMTP\r\n")
		}()
		if _, err := open(t, host).Process(t.Context()); !errors.Is(err, errNoEngine) {
			t.Errorf("%s: got %v", host, err)
		}
	}
}

func listenUnix(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}
