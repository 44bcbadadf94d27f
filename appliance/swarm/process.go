package swarm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/sockowner"
)

// processTimeout bounds the question who the engine is.
const processTimeout = 5 * time.Second

// ping leaves the connection open after the answer: an end that is closed has
// no owner any longer.
const ping = "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n"

var (
	errNoEngine = errors.New("what answers there is no Docker Engine; see what DOCKER_HOST, docker.host in the " +
		"config and `docker context ls` say")
	errOtherPIDs = errors.New("it is in another PID namespace; run crawlbox on the host itself, or in a container " +
		"with --pid=host")
)

// Process returns the process that is the Docker Engine: the one that answers
// at the engine's address now. It takes at most 5 s, and another engine may
// have taken its place by the time the caller looks.
//
// It returns ErrStopped, ErrUnreachable, or why the process is not known: the
// engine is in another PID namespace, or on another machine.
func (e *Engine) Process(ctx context.Context) (pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, processTimeout)
	defer cancel()
	conn, err := e.cli.Dialer()(ctx)
	if err != nil {
		return 0, e.explain(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if unixConn, ok := conn.(*net.UnixConn); ok {
		pid, err = answeringPID(unixConn)
	} else {
		pid, err = acceptingPID(conn)
	}
	if err == nil {
		return pid, nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return 0, fmt.Errorf("find the process of the Docker Engine at %s: %w", e.host, err)
}

// isDial reports whether nobody could be connected to; requests of the SDK have
// an error of their own for that.
func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// answeringPID returns the process that answers a ping. It is the kernel that
// says so, in a control message beside the answer; see unix(7). SO_PEERCRED
// would name whoever made the listening socket, which is systemd where Docker
// is started by docker.socket.
func answeringPID(conn *net.UnixConn) (int, error) {
	// What is written before this is set comes without its writer.
	if err := passCredentials(conn); err != nil {
		return 0, fmt.Errorf("ask for credentials: %w", err)
	}
	if _, err := conn.Write([]byte(ping)); err != nil {
		return 0, err
	}
	answer, control := make([]byte, 512), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, controlLen, _, _, err := conn.ReadMsgUnix(answer, control)
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(answer[:n], []byte("HTTP/1.")) {
		return 0, errNoEngine
	}
	return writer(control[:controlLen])
}

func passCredentials(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = raw.Control(func(fd uintptr) {
		setErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	return errors.Join(err, setErr)
}

func writer(control []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, fmt.Errorf("parse credentials: %w", err)
	}
	for _, m := range messages {
		cred, err := unix.ParseUnixCredentials(&m)
		switch {
		case err != nil:
			continue
		case cred.Pid == 0:
			return 0, errOtherPIDs
		}
		return int(cred.Pid), nil
	}
	return 0, errors.New("the kernel named no process")
}

// acceptingPID returns the process at the other end of a TCP connection. The answer is
// waited for because nobody has an end that is not accepted yet.
func acceptingPID(conn net.Conn) (int, error) {
	if _, err := conn.Write([]byte(ping)); err != nil {
		return 0, err
	}
	answer, err := bufio.NewReaderSize(conn, 512).Peek(len("HTTP/1."))
	if err != nil {
		return 0, err
	}
	if string(answer) != "HTTP/1." {
		return 0, errNoEngine
	}
	local, remote := conn.LocalAddr().(*net.TCPAddr), conn.RemoteAddr().(*net.TCPAddr)
	pid, err := sockowner.Holder(remote.AddrPort(), local.AddrPort())
	switch {
	case errors.Is(err, sockowner.ErrNoSocket):
		return 0, errors.New("it is not on this machine, or in another network namespace; set docker.host in the " +
			"config to the engine of this machine")
	case errors.Is(err, sockowner.ErrNoHolder):
		return 0, errOtherPIDs
	}
	return pid, err
}
