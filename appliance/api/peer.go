package api

import (
	"context"
	"log/slog"
	"net"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// peerKey finds in a context the process that has connected.
type peerKey struct{}

// ConnContext is for http.Server: it notes which process has connected to the
// unix socket. The kernel vouches for it as of the moment of the connection.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if p := peerOf(c); p != nil {
		return context.WithValue(ctx, peerKey{}, p)
	}
	return ctx
}

// peerOf returns nil for what is not a unix socket.
func peerOf(c net.Conn) (peer *unix.Ucred) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			peer = cred
		}
	})
	return peer
}

// PeerUser is who has connected, as people know him: the name of the user, or his
// number where there is no name; empty where that is not known.
func PeerUser(ctx context.Context) string {
	p, ok := ctx.Value(peerKey{}).(*unix.Ucred)
	if !ok {
		return ""
	}
	id := strconv.FormatUint(uint64(p.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// peerAttrs are who has connected, as the audit log shows it.
func peerAttrs(ctx context.Context) []slog.Attr {
	p, ok := ctx.Value(peerKey{}).(*unix.Ucred)
	if !ok {
		return []slog.Attr{slog.String("peer", "unknown")}
	}
	attrs := []slog.Attr{slog.Uint64("uid", uint64(p.Uid))}
	if u, err := user.LookupId(strconv.FormatUint(uint64(p.Uid), 10)); err == nil {
		attrs = append(attrs, slog.String("user", u.Username))
	}
	return append(attrs, slog.Uint64("gid", uint64(p.Gid)), slog.Int("pid", int(p.Pid)))
}
