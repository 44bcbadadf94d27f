package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// probeEnv makes of the test's program one that goes into the sandbox and tries to do
// what it must not.
const probeEnv = "SANDBOX_TEST_PROBE"

const probeID = 60788

func TestMain(m *testing.M) {
	if os.Getenv(probeEnv) != "" {
		probe()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attempt is something that is not allowed. It returns nil when it was done.
type attempt struct {
	name string
	do   func() error
}

var attempts = []attempt{
	{"read /etc/shadow", func() error { _, err := os.ReadFile("/etc/shadow"); return err }},
	{"list /proc", func() error { _, err := os.ReadDir("/proc"); return err }},
	{"read the root of process 1", func() error { _, err := os.ReadDir("/proc/1/root"); return err }},
	{"leave the root by ..", func() error { _, err := os.Stat("../../../../../../etc/passwd"); return err }},
	{"leave the root by another", func() error {
		if err := os.Mkdir("/below", 0o700); err != nil {
			return nil // its own directory it may write: this says that it may not
		}
		return unix.Chroot("/below")
	}},
	{"dial TCP", func() error { _, err := net.DialTimeout("tcp", "127.0.0.1:1", time.Second); return refused(err) }},
	{"open a raw socket", func() error { return call(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW, 0) }},
	{"open a unix socket", func() error { return call(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0) }},
	{"open a socket pair", func() error {
		_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		return err
	}},
	{"execute", func() error { return exec.Command("/proc/self/exe").Run() }},
	{"execute by a descriptor", func() error { return call(unix.SYS_EXECVEAT, 0, 0, 0) }},
	{"fork", func() error { return call(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0) }},
	{"fork otherwise", func() error { return call(unix.SYS_CLONE3, 0, 0, 0) }},
	{"make a thread in a namespace", func() error {
		return call(unix.SYS_CLONE, unix.CLONE_THREAD|unix.CLONE_NEWUSER, 0, 0)
	}},
	{"make a namespace", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
	{"enter a namespace", func() error { return unix.Setns(0, 0) }},
	{"trace", func() error { return unix.PtraceSeize(os.Getppid()) }},
	{"read another's memory", func() error { return call(unix.SYS_PROCESS_VM_READV, uintptr(os.Getppid()), 0, 0) }},
	{"take another's descriptor", func() error { _, err := unix.PidfdOpen(os.Getppid(), 0); return err }},
	{"kill", func() error { return unix.Kill(os.Getppid(), 0) }},
	{"mount", func() error { return unix.Mount("none", "/", "tmpfs", 0, "") }},
	{"become root", func() error { return call(unix.SYS_SETUID, 0, 0, 0) }},
	{"get capabilities", func() error { return call(unix.SYS_CAPSET, 0, 0, 0) }},
	{"load a program into the kernel", func() error { return call(unix.SYS_BPF, 0, 0, 0) }},
	{"use the keyring", func() error { return call(unix.SYS_KEYCTL, 0, 0, 0) }},
	{"use io_uring", func() error { return call(unix.SYS_IO_URING_SETUP, 1, 0, 0) }},
	{"watch the machine", func() error { return call(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0) }},
	{"handle page faults", func() error { return call(unix.SYS_USERFAULTFD, 0, 0, 0) }},
	{"type into a terminal", func() error { return call(unix.SYS_IOCTL, 0, unix.TIOCSTI, 0) }},
	{"make a device", func() error { return unix.Mknod("/device", unix.S_IFCHR, 1) }},
	{"share memory", func() error { return call(unix.SYS_SHMGET, 0, 4096, unix.IPC_CREAT) }},
	{"change the filter", func() error { return call(unix.SYS_SECCOMP, 0, 0, 0) }},
	{"change the process", func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }},
}

// refused takes what only another could have answered for a successful attempt.
func refused(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return err
}

func call(number, a, b, c uintptr) error {
	r, _, errno := unix.RawSyscall(number, a, b, c)
	switch errno {
	case unix.EPERM, unix.ENOSYS, unix.EACCES:
		return errno
	case 0:
		if r == 0 && (number == unix.SYS_CLONE || number == unix.SYS_CLONE3) { // it is the fork
			unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		}
	}
	return nil // the kernel has looked at it: it was let through
}

// answer holds what the probe found.
type answer struct {
	Missing []Missing
	Done    []string // attempts that were done
	Failed  []string // what it may do and could not
}

func probe() {
	ln, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		panic(err)
	}
	dir := os.NewFile(4, "directory")
	missing := Confine(Options{Dir: dir, UID: probeID, GID: probeID, Files: 100, Memory: 1 << 32})
	dir.Close()
	var a answer
	if os.Getuid() != probeID || os.Getgid() != probeID {
		a.Failed = append(a.Failed, "be another user")
	}
	a.Missing = missing
	for _, d := range attempts {
		if d.do() == nil {
			a.Done = append(a.Done, d.name)
		}
	}
	conn, err := ln.Accept()
	if err != nil {
		a.Failed = append(a.Failed, "accept: "+err.Error())
	}
	if err := os.WriteFile("/file", []byte("x"), 0o600); err != nil {
		a.Failed = append(a.Failed, "write: "+err.Error())
	}
	for range 50 { // threads
		go time.Sleep(time.Millisecond)
	}
	if conn != nil {
		_ = json.NewEncoder(conn).Encode(a)
		conn.Close()
	}
}

// TestConfine has a process try what it must not, in every kind of namespaces, and what
// it must be able to.
func TestConfine(t *testing.T) {
	t.Parallel()
	testenv.Root(t)
	for name, isolation := range map[string]Isolation{"own": Own, "plain": Plain, "none": None} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := runProbe(t, isolation)
			if len(a.Missing)+len(a.Failed) > 0 {
				t.Errorf("missing %v, failed %v", a.Missing, a.Failed)
			}
			for _, done := range a.Done {
				t.Errorf("it could %s", done)
			}
		})
	}
}

func runProbe(t *testing.T, isolation Isolation) (a answer) {
	t.Helper()
	dir := t.TempDir()
	directory, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.Chown(dir, probeID, probeID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = []string{probeEnv + "=1", "GORACE=atexit_sleep_ms=0"}
	cmd.Stderr, cmd.ExtraFiles = t.Output(), []*os.File{file, directory}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	isolation.Apply(cmd.SysProcAttr, probeID, probeID)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cmd.Wait(); err != nil {
			t.Errorf("the probe ended with %v", err)
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		t.Fatal(fmt.Errorf("the probe says nothing: %w", err))
	}
	return a
}
