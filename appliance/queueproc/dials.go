package queueproc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxDials bounds the connections that are made at a time.
	maxDials    = 64
	dialTimeout = 5 * time.Second
	// deadAfter is how long an engine may not acknowledge what was sent to it.
	deadAfter = 30 * time.Second
	// maxAnswer bounds an answer, which is a number and an error, in bytes.
	maxAnswer = 1000
	idSize    = 8
)

// dials makes connections to the engine for the process, which can't: it asks with a number,
// and gets that back with the connection or with why there is none. It can ask for no other
// connections.
type dials struct {
	conn   *net.UnixConn
	engine func() *Engine // of now
}

// openDials returns one and the process's end of its socket; none where the process has its
// own engine.
func (s *Supervisor) openDials() (d *dials, theirs *os.File, err error) {
	if s.engineNow() == nil && s.opts.Leases == nil {
		return nil, nil, nil
	}
	ours, theirs, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	return &dials{ours, s.engineNow}, theirs, nil
}

func (d *dials) close() {
	if d != nil {
		d.conn.Close()
	}
}

// serve answers until the process is gone, or asks for something else.
func (d *dials) serve() {
	if d == nil {
		return
	}
	defer d.close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	places := make(chan struct{}, maxDials)
	for {
		places <- struct{}{}
		var id [idSize + 1]byte
		n, err := d.conn.Read(id[:])
		if err != nil || n != idSize {
			return
		}
		go func() {
			defer func() { <-places }()
			d.answer(ctx, id[:idSize])
		}()
	}
}

var errNowhere = errors.New("it does not run yet")

// answer makes one connection. It may take a while, as the name of a host is looked up.
func (d *dials) answer(ctx context.Context, id []byte) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var err error
	switch e := d.engine(); {
	case e == nil:
		err = d.passPair(id)
	case e.Addr == "":
		err = errNowhere
	default:
		var conn net.Conn
		if conn, err = engineDialer.DialContext(ctx, "tcp", e.Addr); err == nil {
			err = errors.Join(d.pass(id, conn), conn.Close())
		}
	}
	if err != nil {
		why := err.Error()
		_, _ = d.conn.Write(append(id, why[:min(len(why), maxAnswer-idSize)]...))
	}
}

// pass gives the process its own descriptor of a connection.
func (d *dials) pass(id []byte, conn net.Conn) error {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		_, _, failed = d.conn.WriteMsgUnix(id, unix.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, failed)
}

// passPair passes both ends of a connection that stays within the process.
func (d *dials) passPair(id []byte) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a pair of sockets: %w", err)
	}
	_, _, err = d.conn.WriteMsgUnix(id, unix.UnixRights(fds[:]...), nil)
	return errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
}

// engineDialer notices the end of a machine that says nothing any more.
var engineDialer = net.Dialer{
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4},
	Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			ms := int(deadAfter / time.Millisecond)
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, ms)
		})
		return errors.Join(err, failed)
	},
}
