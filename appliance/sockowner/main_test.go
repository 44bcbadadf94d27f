package sockowner

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// dialEnv makes a child of the test binary connect to an address, say so on its
// standard output and hold the connection until its standard input ends.
const dialEnv = "SOCKOWNER_TEST_DIAL"

func TestMain(m *testing.M) {
	if addr := os.Getenv(dialEnv); addr != "" {
		os.Exit(holdConnection(addr))
	}
	goleak.VerifyTestMain(m)
}

func holdConnection(addr string) int {
	if own, ok := strings.CutPrefix(addr, "itself "); ok {
		return holdOwn(own)
	}
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer c.Close()
	fmt.Println("connected")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// holdOwn holds both ends of a connection, and says which they are.
func holdOwn(addr string) int {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	c, err := net.DialTimeout("tcp", ln.Addr().String(), 10*time.Second)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer c.Close()
	if _, err := ln.Accept(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(c.LocalAddr(), c.RemoteAddr())
	io.Copy(io.Discard, os.Stdin)
	return 0
}

func twoAddresses(line string) (local, remote netip.AddrPort, err error) {
	one, two, _ := strings.Cut(strings.TrimSpace(line), " ")
	local, err = netip.ParseAddrPort(one)
	if err == nil {
		remote, err = netip.ParseAddrPort(two)
	}
	return local, remote, err
}

// needsNamespace starts a command in a network namespace of its own.
func needsNamespace(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	testenv.Root(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
}

// child connects a process of its own to ln and returns it with our end. The
// process is in new namespaces where flags say so.
func child(t *testing.T, ln net.Listener, flags uintptr) (pid int, accepted net.Conn) {
	t.Helper()
	if flags != 0 {
		testenv.Root(t)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), dialEnv+"="+ln.Addr().String())
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
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
	return cmd.Process.Pid, accept(t, ln)
}

func listen(t testing.TB, network, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func accept(t testing.TB, ln net.Listener) net.Conn {
	t.Helper()
	ln.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pair returns both ends of a connection through ln, which may be dialled at
// another of its addresses.
func pair(t testing.TB, ln net.Listener, at string) (client, server net.Conn) {
	t.Helper()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client = dial(t, net.JoinHostPort(at, port))
	return client, accept(t, ln)
}

func addrOf(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

// peer returns the addresses of the other end of c, as it sees them.
func peer(c net.Conn) (local, remote netip.AddrPort) {
	return addrOf(c.RemoteAddr()), addrOf(c.LocalAddr())
}

// mappedClient connects with an IPv6 socket to an IPv4 address.
func mappedClient(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	to := syscall.SockaddrInet6{
		Port: int(addrOf(ln.Addr()).Port()),
		Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16(),
	}
	if err := syscall.Connect(fd, &to); err != nil {
		t.Fatal(err)
	}
	return accept(t, ln)
}

// findInode is how a test finds an inode.
type findInode func(local, remote netip.AddrPort) (uint32, error)

var ways = map[string]findInode{"sock_diag": inodeFromDiag, "proc": inodeFromProc}

// inodeOf returns the inode of our own end of a connection.
func inodeOf(t *testing.T, c net.Conn) uint32 {
	t.Helper()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	inode, err := parseInode(strings.Trim(target, "socket:[]"))
	if err != nil {
		t.Fatal(err)
	}
	return inode
}
