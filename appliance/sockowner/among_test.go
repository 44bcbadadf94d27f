package sockowner

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestAmong wants the owner among some processes, and nobody where it is another.
func TestAmong(t *testing.T) {
	t.Parallel()
	ln := listen(t, "tcp", "127.0.0.1:0")
	one, first := child(t, ln, 0)
	other, second := child(t, ln, 0)
	ends := []End{endOf(first), endOf(second), {endOf(first).Remote, endOf(first).Local}, {}}
	for name, c := range map[string]struct{ pids, want []int }{
		"both":    {[]int{one, other}, []int{one, other, 0, 0}},
		"one":     {[]int{one}, []int{one, 0, 0, 0}},
		"we":      {[]int{1 << 30, os.Getpid()}, []int{0, 0, os.Getpid(), 0}},
		"nobody":  {nil, []int{0, 0, 0, 0}},
		"all":     {[]int{os.Getpid(), other, one}, []int{one, other, os.Getpid(), 0}},
		"strange": {[]int{1}, []int{0, 0, 0, 0}},
	} {
		var got []int
		for i, o := range Among(c.pids, ends) {
			if got = append(got, o.PID); o.Err != nil {
				t.Errorf("%s: end %d: %v", name, i, o.Err)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func endOf(accepted net.Conn) End {
	local, remote := peer(accepted)
	return End{local, remote}
}

// TestAmong_OtherNamespace has connections that are in another network namespace as a whole, with the
// addresses of connections that are here too: each is found where it is.
func TestAmong_OtherNamespace(t *testing.T) {
	t.Parallel()
	for _, family := range []struct{ network, addr string }{{"tcp4", "127.0.0.1"}, {"tcp6", "::1"}} {
		ends, there := elsewhere(t, family.addr)
		for i, o := range Among([]int{os.Getpid(), there}, ends[:1]) {
			if o.PID != there || o.Err != nil {
				t.Errorf("%s: end %d has %d, %v; want %d", family.network, i, o.PID, o.Err, there)
			}
		}
		for _, o := range Among([]int{os.Getpid()}, ends) {
			if o.PID != 0 || o.Err != nil {
				t.Errorf("%s: we have it: %+v", family.network, o)
			}
		}
		wrong := End{ends[0].Local, netip.AddrPortFrom(ends[0].Remote.Addr(), ends[0].Remote.Port()+1)}
		for _, o := range Among([]int{there}, []End{wrong}) {
			if o.PID != 0 || o.Err != nil {
				t.Errorf("%s: it has one that is not there: %+v", family.network, o)
			}
		}
	}
}

// elsewhere returns the two ends of a connection that one process has in a network namespace of its own.
func elsewhere(t *testing.T, addr string) (ends []End, pid int) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `ip link set lo up && exec "$0"`, program)
	cmd.Env = append(os.Environ(), dialEnv+"=itself "+net.JoinHostPort(addr, "0"))
	cmd.Stderr = os.Stderr
	needsNamespace(t, cmd)
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
	said := make([]byte, 200)
	n, err := stdout.Read(said)
	if err != nil {
		t.Fatal(err)
	}
	local, remote, err := twoAddresses(string(said[:n]))
	if err != nil {
		t.Fatalf("%q: %v", said[:n], err)
	}
	return []End{{local, remote}, {remote, local}}, cmd.Process.Pid
}

func TestBegun(t *testing.T) {
	t.Parallel()
	begun, ok := Begun(os.Getpid())
	var now syscall.Sysinfo_t
	if err := syscall.Sysinfo(&now); err != nil {
		t.Fatal(err)
	}
	if up := time.Duration(now.Uptime+1) * time.Second; !ok || begun <= 0 || begun > up {
		t.Errorf("we began after %s, %v; the machine runs for %s", begun, ok, up)
	}
	if _, ok := Begun(1 << 30); ok {
		t.Error("there is a process that does not exist")
	}
}

// TestAddresses finds this machine's.
func TestAddresses(t *testing.T) {
	t.Parallel()
	has, err := addresses("/proc/self/net/")
	if err != nil {
		t.Fatal(err)
	}
	known, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range known {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			t.Fatal(err)
		}
		if !has[prefix.Addr()] {
			t.Errorf("%s is not among %v", prefix.Addr(), has)
		}
	}
	if has[netip.MustParseAddr("192.0.2.1")] {
		t.Error("it has an address that nobody has")
	}
}
