// Package sockowner says which process of this machine is at the other end of
// a TCP connection.
//
// It exists because of the registry on 127.0.0.1:8003, which must serve the
// Docker Engine of the host and nobody else. Spiders run on the host's network
// and read untrusted pages, so a loopback address says nothing about who
// connects, and Docker cannot be given a password for it by machine.
//
// The kernel is asked for the inode of the peer's socket (sock_diag(7), as ss
// does, or /proc/net/tcp where the kernel has no sock_diag), and /proc/PID/fd
// for the process that has that inode open. This is not a race, as long as the caller keeps
// its end open meanwhile: as long as the connection lives, nobody else can
// have its two addresses, and its socket keeps its inode. Only an established
// connection counts. A peer that has closed already, or is only trying to
// connect from the same address, is ErrNoSocket.
//
// Inode numbers of sockets come round after 2^32 of them, and a container can
// make as many in some hours until it gets the number of one of Docker's. So
// where the kernel has pidfd_getfd(2), since 5.6, and lets us, the file that was
// found is looked at itself and must be a socket with these addresses.
//
// The questions are its own code for a reason: SocketGet of vishvananda/netlink v1.3 has the
// kernel walk through all its connections, where this looks one up in a hash table, knows no
// IPv4 connection of an IPv6 socket, and waits for ever; prometheus/procfs reads all of
// /proc/net/tcp and of /proc/PID/fd into memory, which a spider can make a million lines.
//
// Process IDs are those of this process's own PID namespace, addresses those of
// its network namespace. To look into other users' processes takes root or
// CAP_SYS_PTRACE.
package sockowner

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
)

var (
	// ErrNoSocket is returned where no socket of this machine and network
	// namespace has that connection: the peer is elsewhere, or has closed.
	ErrNoSocket = errors.New("no socket of this machine has the connection")
	// ErrNoHolder is returned by Holder where there is a socket, but no process
	// that can be seen has it open: it is in another PID namespace.
	ErrNoHolder = errors.New("no process in sight has the socket open")
)

// Holder returns the process that has the socket open whose own address is local and
// that is connected to remote; of several, as after a fork, that with the lowest number.
// For the peer of an accepted connection c, local is c.RemoteAddr() and remote is
// c.LocalAddr(). IPv4 addresses may be given mapped into IPv6. It looks through all
// processes.
//
// It returns ErrNoSocket, ErrNoHolder, or what keeps it from looking, such as
// fs.ErrPermission.
func Holder(local, remote netip.AddrPort) (pid int, err error) {
	s, err := findSocket(local, remote)
	if err != nil {
		return 0, fmt.Errorf("find the socket of %s to %s: %w", local, remote, err)
	}
	pid, err = holderOf(s)
	if err != nil {
		return 0, fmt.Errorf("find the process at %s: %w", local, err)
	}
	return pid, nil
}

func holderOf(s socket) (int, error) {
	pids, err := processes()
	if err != nil {
		return 0, err
	}
	slices.Sort(pids)
	notFound := ErrNoHolder
	for _, pid := range pids {
		holds, err := hasOpen(pid, s)
		switch {
		case holds:
			return pid, nil
		case errors.Is(err, fs.ErrPermission):
			notFound = err
		case err != nil && !errors.Is(err, errGone):
			return 0, err
		}
	}
	return 0, notFound
}

// socket is one end of an established connection.
type socket struct {
	inode         uint32
	local, remote netip.AddrPort // as unmap leaves them
}

// findSocket asks sock_diag if this kernel has it, else /proc.
func findSocket(local, remote netip.AddrPort) (socket, error) {
	local, remote = unmap(local), unmap(remote)
	if local.Addr().Is4() != remote.Addr().Is4() || !local.Addr().IsValid() {
		return socket{}, ErrNoSocket
	}
	find := inodeFromProc
	if haveDiag() {
		find = inodeFromDiag
	}
	inode, err := find(local, remote)
	return socket{inode, local, remote}, err
}

// unmap takes off what is not in the kernel's tables: mapping and zone.
func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
