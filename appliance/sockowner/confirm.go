package sockowner

import (
	"errors"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// confirmed looks at a file of a process, one in its /proc/PID/fd, whether it
// is the socket that its inode number says. Where that can't be looked at, the
// number has to do.
func confirmed(pid int, file string, s socket) bool {
	number, err := strconv.Atoi(file)
	if err != nil {
		return false
	}
	fd, err := borrow(pid, number)
	if errors.Is(err, unix.EBADF) || errors.Is(err, unix.ESRCH) {
		return false // closed meanwhile, or ended
	}
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	local, err := unix.Getsockname(fd)
	if err != nil || plainOf(local) != s.local {
		return false
	}
	remote, err := unix.Getpeername(fd)
	return err == nil && plainOf(remote) == s.remote
}

// borrow returns another process's open file as one of ours.
func borrow(pid, number int) (int, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(process)
	return unix.PidfdGetfd(process, number, 0)
}

func plainOf(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return unmap(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)))
	}
	return netip.AddrPort{}
}
