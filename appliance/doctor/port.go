package doctor

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
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
	for _, table := range []string{"/proc/net/" + proto, "/proc/net/" + proto + "6"} {
		for _, inode := range listeners(table, addr) {
			if owner := socketOwner(inode); owner != "" {
				return owner
			}
		}
	}
	return ""
}

// States of sockets that take what comes: TCP_LISTEN in /proc/net/tcp, and what stands
// in its place in /proc/net/udp.
const (
	stateListen = "0A"
	stateBound  = "07"
)

// listeners returns the inodes of the sockets at addr, at all addresses or, where addr
// is all of them, at any.
func listeners(table string, addr netip.AddrPort) (inodes []string) {
	f, err := os.Open(table)
	if err != nil {
		return nil
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 10 || fields[3] != stateListen && fields[3] != stateBound {
			continue
		}
		local, ok := parseHexAddr(fields[1])
		if !ok || local.Port() != addr.Port() {
			continue
		}
		if local.Addr().IsUnspecified() || addr.Addr().IsUnspecified() || local.Addr() == addr.Addr() {
			inodes = append(inodes, fields[9])
		}
	}
	return inodes
}

// parseHexAddr reads 0100007F:1F43: 32-bit words in the byte order of the
// machine (little endian on all that crawlbox is built for), then the port.
func parseHexAddr(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if !ok || err != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, okA := netip.AddrFromSlice(b)
	p, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), okA && err == nil
}

func socketOwner(inode string) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	want := "socket:[" + inode + "]"
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
