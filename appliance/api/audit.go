package api

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// harmless lists the parameters that may be written to the audit log.
var harmless = []string{"role", "force", "ref", "key"}

// statusGone is written to the audit log where the client did not wait for the answer.
const statusGone = 499

// notesKey finds in a context what a call itself adds to its record.
type notesKey struct{}

// recorded returns r as a call is to see it, and what writes its record to the
// audit log when it is done.
func (h *handler) recorded(r *http.Request) (*http.Request, func(error)) {
	read := strings.HasPrefix(r.Pattern, http.MethodGet+" ")
	if h.audit == nil || r.Pattern == "/" || read && !h.secret[r.Pattern] {
		return r, func(error) {}
	}
	notes := &[]slog.Attr{}
	r = r.WithContext(context.WithValue(r.Context(), notesKey{}, notes))
	return r, func(err error) {
		attrs := []slog.Attr{slog.String("method", r.Method), slog.String("path", auditPath(r.URL))}
		attrs = append(append(attrs, *notes...), peerAttrs(r.Context())...)
		h.audit("local-api", append(attrs, outcome(r.Context(), err)...)...)
	}
}

// note adds to the record of a call what its path does not say.
func note(r *http.Request, attrs ...slog.Attr) {
	if notes, ok := r.Context().Value(notesKey{}).(*[]slog.Attr); ok {
		*notes = append(*notes, attrs...)
	}
}

// outcome returns the HTTP status that an end with err would have as the whole
// answer, and the error.
func outcome(ctx context.Context, err error) []slog.Attr {
	switch {
	case err == nil:
		return []slog.Attr{slog.Int("status", http.StatusOK)}
	case ctx.Err() != nil:
		return []slog.Attr{slog.Int("status", statusGone), slog.String("error", "the client went away")}
	}
	e := AsError(err)
	return []slog.Attr{slog.Int("status", e.status()), slog.String("error", e.Message)}
}

func auditPath(u *url.URL) string {
	given, shown := u.Query(), url.Values{}
	for _, name := range harmless {
		if given.Has(name) {
			shown.Set(name, given.Get(name))
		}
	}
	if len(shown) == 0 {
		return u.Path
	}
	return u.Path + "?" + shown.Encode()
}

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

// PeerUser returns the name of the user who has connected, or the number where there is
// no name; empty where that is not known.
func PeerUser(ctx context.Context) string {
	if from, ok := ctx.Value(relayKey{}).(relayed); ok {
		return words.OneLine(from.user) + "@" + cmp.Or(words.OneLine(from.node), from.id)
	}
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

// peerAttrs returns who has connected, as the audit log shows it.
func peerAttrs(ctx context.Context) []slog.Attr {
	if from, ok := ctx.Value(relayKey{}).(relayed); ok {
		return []slog.Attr{slog.String("user", from.user), slog.String("node", from.id)}
	}
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
