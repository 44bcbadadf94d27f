package wire

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// unsent is how much of what was written the kernel keeps before it is sent, in bytes.
	// Left alone it takes some megabytes of each connection: pieces then wait there behind
	// others, when their slots are free again long since, and what nobody wants any longer is
	// sent all the same.
	unsent = 128 << 10
	// deadAfter is the time after which a connection ends whose other side takes nothing and
	// says nothing. One that is silent is tried after aliveIdle, and again each aliveAgain.
	deadAfter  = 15 * time.Second
	aliveIdle  = 5 * time.Second
	aliveAgain = 3 * time.Second
)

// limitUnsent has the kernel take little more of what is written to conn than it sends.
func limitUnsent(conn net.Conn) { set(conn, unix.TCP_NOTSENT_LOWAT, unsent) }

// watch has the kernel end conn when the other side is gone.
func watch(conn net.Conn) {
	tcp := underneath(conn)
	if tcp == nil {
		return
	}
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable:   true,
		Idle:     aliveIdle,
		Interval: aliveAgain,
		Count:    int(deadAfter / aliveAgain),
	})
	set(tcp, unix.TCP_USER_TIMEOUT, int(deadAfter.Milliseconds()))
}

// set sets an option of the TCP connection below conn, if there is one.
func set(conn net.Conn, option, value int) {
	tcp := underneath(conn)
	if tcp == nil {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value) })
}

func underneath(conn net.Conn) *net.TCPConn {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}
