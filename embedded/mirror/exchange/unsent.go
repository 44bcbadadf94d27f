package exchange

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsent is how much of what was written the kernel keeps before it is sent, in bytes.
// Left alone it takes some megabytes of each connection: pieces then wait there behind
// others, when their slots are free again long since, and what nobody wants any more is
// sent all the same.
const unsent = 128 << 10

// holdBack has the kernel take little more of what is written to conn than it sends.
func holdBack(conn net.Conn) {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			raw, err := c.SyscallConn()
			if err != nil {
				return
			}
			_ = raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
			})
			return
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return
		}
	}
}
