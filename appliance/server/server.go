// Package server serves HTTP on a node's listeners with the bounds that strangers meet, as
// components that end in time. It also opens the socket of the local API, and knows the names
// of loopback: what these have in common is that each is a door of the node.
package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/caught"
	"github.com/crawlbox/crawlbox/appliance/guard"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
)

// Site holds what a server serves, and to which clients.
type Site struct {
	Handler http.Handler
	TLS     *tls.Config                                           // nil: none
	Conn    func(ctx context.Context, c net.Conn) context.Context // nil: guard.ConnContext
}

// Serve returns a component that serves a site on the listener until it is stopped:
// requests under way then get a short time to end.
func Serve(s Site, log *slog.Logger, ln net.Listener) lifecycle.Component {
	return lifecycle.Func(func(ctx context.Context, ready func()) error {
		srv := s.server(ctx, log)
		failed := make(chan error, 1)
		go func() {
			if s.TLS != nil {
				failed <- srv.ServeTLS(ln, "", "")
				return
			}
			failed <- srv.Serve(ln)
		}()
		ready()
		var err error
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
		// The context of requests has ended with ctx: streams return by
		// themselves, the rest has until the time-out.
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), lifecycle.StopTimeout/2)
		defer cancel()
		if srv.Shutdown(stop) != nil {
			srv.Close()
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
}

func (s Site) server(ctx context.Context, log *slog.Logger) *http.Server {
	srv := &http.Server{
		Handler:           caughtIn(s.Handler, log),
		TLSConfig:         s.TLS,
		ReadHeaderTimeout: 10 * time.Second, // of the TLS handshake too
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       guard.ConnContext,
		// HTTP/2 would be one more thing that strangers can play with.
		Protocols: new(http.Protocols),
		// What strangers get is for the handler to say.
		DisableGeneralOptionsHandler: true,
	}
	srv.Protocols.SetHTTP1(true)
	if s.Conn != nil {
		srv.ConnContext = s.Conn
	}
	return srv
}

// caughtIn has a request whose handler panics end as net/http does it, and says so where it is
// read: what net/http itself logs is mostly of what strangers do.
func caughtIn(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := caught.Run(log, r.Method+" "+r.URL.Path, func() error {
			h.ServeHTTP(w, r)
			return nil
		})
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	})
}

// ListenSocket opens the unix socket of the local API, mode 0660 and owned by
// root and group. A socket left by a crawlbox that was killed is replaced; one
// that is served is not.
func ListenSocket(path, group string) (*net.UnixListener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("a crawlbox runs here already (it serves %s); see `crawlbox status`, or stop it first",
			path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace socket %s: %w", path, err)
	}
	// Nobody else may connect between the making of the socket and chmod.
	old := syscall.Umask(0o177)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := ownSocket(path, group); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

func ownSocket(path, group string) error {
	if group != "" {
		gid, err := groupID(group)
		if err != nil {
			return err
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("give socket %s to group %s: %w", path, group, err)
		}
	}
	return os.Chmod(path, 0o660)
}

func groupID(group string) (int, error) {
	if gid, err := strconv.Atoi(group); err == nil {
		return gid, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("socket_group %q does not exist on this machine; create it with `groupadd %s` or name "+
			"another", group, group)
	}
	return strconv.Atoi(g.Gid)
}

// IsCertified reports whether a Host header names a port by a name or an address that a
// certificate is good for.
func IsCertified(hostport string, want uint16, leaf *x509.Certificate) bool {
	host, port, err := net.SplitHostPort(hostport)
	return err == nil && port == fmt.Sprint(want) && leaf.VerifyHostname(host) == nil
}

// IsLoopback reports whether a Host header names this machine's loopback at a port: a
// page in a browser that had its own name point there would send that name.
func IsLoopback(hostport string, want uint16) bool {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || port != fmt.Sprint(want) {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
