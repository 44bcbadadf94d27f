package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// Listen is net.Listen for TCP, whose error names the process that holds the
// port where it can be found, and the config key that chooses another port.
func Listen(addr netip.AddrPort, key string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr.String())
	if err != nil {
		return nil, portError(err, addr, key, "tcp")
	}
	return ln, nil
}

// soon bounds how long ListenSoon waits.
const soon = 3 * time.Second

// ListenSoon is Listen on a port whose process may be ending just now.
func ListenSoon(addr netip.AddrPort, key string) (net.Listener, error) {
	for until := time.Now().Add(soon); ; time.Sleep(soon / 60) {
		ln, err := net.Listen("tcp", addr.String())
		if err == nil {
			return ln, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(until) {
			return nil, portError(err, addr, key, "tcp")
		}
	}
}

// Port checks that a TCP port is free, as Listen would.
func Port(addr netip.AddrPort, key string) error {
	ln, err := Listen(addr, key)
	if err != nil {
		return err
	}
	return ln.Close()
}

func portError(err error, addr netip.AddrPort, key, proto string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		by := ""
		if owner := portOwner(addr, proto); owner != "" {
			by = " by " + owner
		}
		if key == "" {
			return fmt.Errorf("port %d/%s, which Docker Swarm needs, is in use%s; stop that process: Swarm can use "+
				"no other", addr.Port(), proto, by)
		}
		return fmt.Errorf("port %d on %s is in use%s; stop that process, or choose another port with %s in the config",
			addr.Port(), addr.Addr(), by, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is not an address of this machine; see `ip addr`, and set advertise_addr in the config",
			addr.Addr())
	}
	return fmt.Errorf("listen on %s: %w", addr, err)
}

// portOwner names the process that has the port at addr, such as "nginx (pid 12)",
// or returns "" where that can't be told.
func portOwner(addr netip.AddrPort, proto string) string {
	for _, s := range sockets(proto) {
		local, _ := netip.AddrFromSlice(s.LocalAddr)
		local = local.Unmap()
		if s.St != stateListen && s.St != stateBound || s.LocalPort != uint64(addr.Port()) ||
			local != addr.Addr() && !local.IsUnspecified() && !addr.Addr().IsUnspecified() {
			continue
		}
		if owner := socketOwner(s.Inode); owner != "" {
			return owner
		}
	}
	return ""
}

// States of sockets that take what comes: TCP_LISTEN in /proc/net/tcp, and what stands
// in its place in /proc/net/udp.
const (
	stateListen = 0x0a
	stateBound  = 0x07
)

// sockets returns those of a protocol, as far as the kernel lists them.
func sockets(proto string) procfs.NetTCP {
	proc, _ := procfs.NewDefaultFS()
	if proto == "udp" {
		v4, _ := proc.NetUDP()
		v6, _ := proc.NetUDP6()
		return procfs.NetTCP(append(v4, v6...))
	}
	//lint:ignore SA1019 sock_diag is dear where many sockets are open, not where one error is explained
	v4, _ := proc.NetTCP()
	//lint:ignore SA1019 as above
	v6, _ := proc.NetTCP6()
	return append(v4, v6...)
}

func socketOwner(inode uint64) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	want := fmt.Sprintf("socket:[%d]", inode)
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err != nil || target != want {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(comm)), pid)
	}
	return ""
}
