package sockowner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// diagRequest is a netlink message with struct inet_diag_req_v2, and diagReply
// the start of the one that answers it, with struct inet_diag_msg; see
// sock_diag(7) and linux/inet_diag.h. They are sent in the machine's own byte
// order, except for addresses and ports.
type diagRequest struct {
	Header   unix.NlMsghdr
	Family   uint8
	Protocol uint8
	_        [2]uint8
	States   uint32
	ID       diagSocket
}

type diagReply struct {
	Header unix.NlMsghdr
	Family uint8
	State  uint8
	_      [2]uint8
	ID     diagSocket
	_      [4]uint32 // expires, rqueue, wqueue, uid
	Inode  uint32
}

type diagSocket struct {
	LocalPort, RemotePort [2]byte
	LocalAddr, RemoteAddr [16]byte
	Interface             uint32
	Cookie                [2]uint32
}

const established = 1 // TCP_ESTABLISHED

// haveDiag reports whether the kernel answers for TCP. It is asked once, because a
// kernel without says "no such file", as it does for a socket that is not there.
// The question is for all sockets in none of the states.
var haveDiag = sync.OnceValue(func() bool {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		_, err := askDiag(diagRequest{
			Header: unix.NlMsghdr{Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP},
			Family: family,
		})
		if err != nil {
			return false
		}
	}
	return true
})

// inodeFromDiag looks a connection up in the kernel's hash table. The socket of
// an IPv4 connection may be an IPv6 one with mapped addresses.
func inodeFromDiag(local, remote netip.AddrPort) (uint32, error) {
	families := []uint8{unix.AF_INET6}
	if local.Addr().Is4() {
		families = []uint8{unix.AF_INET, unix.AF_INET6}
	}
	for _, family := range families {
		inode, err := lookUp(family, local, remote)
		if !errors.Is(err, ErrNoSocket) {
			return inode, err
		}
	}
	return 0, ErrNoSocket
}

func lookUp(family uint8, local, remote netip.AddrPort) (uint32, error) {
	reply, err := askDiag(diagRequest{
		Header: unix.NlMsghdr{Flags: unix.NLM_F_REQUEST},
		Family: family,
		States: 1 << established,
		ID: diagSocket{
			LocalPort:  portBytes(local),
			LocalAddr:  addrBytes(family, local),
			RemotePort: portBytes(remote),
			RemoteAddr: addrBytes(family, remote),
			Cookie:     [2]uint32{^uint32(0), ^uint32(0)}, // any
		},
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return 0, ErrNoSocket
	case err != nil:
		return 0, err
	// Where there is no such connection the kernel offers a listener on the
	// port, and it does not look at States.
	case reply.State != established || reply.Inode == 0 || reply.local() != local || reply.remote() != remote:
		return 0, ErrNoSocket
	}
	return reply.Inode, nil
}

// askDiag sends one request and returns the first message of the answer. The
// kernel has answered by the time that the request is sent; the time limit is
// for one that has not.
func askDiag(req diagRequest) (reply diagReply, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return reply, fmt.Errorf("open a sock_diag socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return reply, fmt.Errorf("bound a sock_diag request: %w", err)
	}
	req.Header.Type, req.Header.Seq = unix.SOCK_DIAG_BY_FAMILY, 1
	req.Header.Len = uint32(binary.Size(req))
	req.Protocol = unix.IPPROTO_TCP
	msg, err := binary.Append(nil, binary.NativeEndian, req)
	if err != nil {
		return reply, err
	}
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return reply, fmt.Errorf("ask sock_diag: %w", err)
	}
	buf := make([]byte, 4096)
	n, err := receive(fd, buf)
	if err != nil {
		return reply, fmt.Errorf("read the answer of sock_diag: %w", err)
	}
	return decode(buf[:n])
}

// receive reads a message of the kernel; other processes could send some too.
func receive(fd int, buf []byte) (int, error) {
	for range 100 {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if sa, ok := from.(*unix.SockaddrNetlink); err == nil && (!ok || sa.Pid != 0) {
			continue
		}
		return n, err
	}
	return 0, unix.EINTR
}

// decode returns a reply, or the error that the message says. The end of an
// empty list is neither.
func decode(msg []byte) (reply diagReply, err error) {
	var header unix.NlMsghdr
	body, err := binary.Decode(msg, binary.NativeEndian, &header)
	if err != nil {
		return reply, fmt.Errorf("decode the answer of sock_diag: %w", err)
	}
	switch header.Type {
	case unix.SOCK_DIAG_BY_FAMILY:
		_, err = binary.Decode(msg, binary.NativeEndian, &reply)
	case unix.NLMSG_ERROR, unix.NLMSG_DONE:
		var code int32
		if _, err = binary.Decode(msg[body:], binary.NativeEndian, &code); err == nil && code != 0 {
			return reply, fmt.Errorf("ask sock_diag: %w", unix.Errno(-code))
		}
	default:
		err = fmt.Errorf("message of type %d", header.Type)
	}
	if err != nil {
		return reply, fmt.Errorf("decode the answer of sock_diag: %w", err)
	}
	return reply, nil
}

func (r diagReply) local() netip.AddrPort { return addrPort(r.Family, r.ID.LocalAddr, r.ID.LocalPort) }
func (r diagReply) remote() netip.AddrPort {
	return addrPort(r.Family, r.ID.RemoteAddr, r.ID.RemotePort)
}

func addrPort(family uint8, addr [16]byte, port [2]byte) netip.AddrPort {
	ip := netip.AddrFrom16(addr).Unmap()
	if family == unix.AF_INET {
		ip = netip.AddrFrom4([4]byte(addr[:4]))
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(port[:]))
}

func addrBytes(family uint8, ap netip.AddrPort) (b [16]byte) {
	if family == unix.AF_INET {
		copy(b[:], ap.Addr().AsSlice())
		return b
	}
	return ap.Addr().As16() // maps IPv4
}

func portBytes(ap netip.AddrPort) (b [2]byte) {
	binary.BigEndian.PutUint16(b[:], ap.Port())
	return b
}
