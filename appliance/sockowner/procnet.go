package sockowner

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// maxTable bounds what is read of a table in /proc, in bytes: more than the
// file descriptors of a server make.
const maxTable = 256 << 20

// inodeFromProc reads the kernel's tables of all connections: slow on a busy
// machine, but there is no kernel without them.
func inodeFromProc(local, remote netip.AddrPort) (uint32, error) {
	inode, err := inodeFromTable("/proc/net/tcp6", hex(local, true), hex(remote, true))
	if errors.Is(err, fs.ErrNotExist) { // no IPv6 here
		err = ErrNoSocket
	}
	if errors.Is(err, ErrNoSocket) && local.Addr().Is4() {
		return inodeFromTable("/proc/net/tcp", hex(local, false), hex(remote, false))
	}
	return inode, err
}

func inodeFromTable(path, local, remote string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxTable))
	for lines.Scan() {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		line := lines.Text()
		if !strings.Contains(line, local) {
			continue
		}
		if v := strings.Fields(line); len(v) > 9 && v[1] == local && v[2] == remote && v[3] == "01" {
			return parseInode(v[9])
		}
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return 0, ErrNoSocket
}

func parseInode(s string) (uint32, error) {
	inode, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("parse the inode of a socket: %w", err)
	}
	if inode == 0 {
		return 0, ErrNoSocket
	}
	return uint32(inode), nil
}

// hex writes an address as /proc/net/tcp and tcp6 do: the machine's numbers
// for each four bytes in network order, then the port.
func hex(ap netip.AddrPort, v6 bool) string {
	b := ap.Addr().AsSlice()
	if v6 {
		a := ap.Addr().As16()
		b = a[:]
	}
	var s strings.Builder
	for ; len(b) > 0; b = b[4:] {
		fmt.Fprintf(&s, "%08X", binary.NativeEndian.Uint32(b))
	}
	fmt.Fprintf(&s, ":%04X", ap.Port())
	return s.String()
}
