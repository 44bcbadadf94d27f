package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/guard"
	"github.com/crawlbox/crawlbox/appliance/sockowner"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// proofTimeout bounds how long it may take to find out who is at the other end
// of a connection.
const proofTimeout = 5 * time.Second

// errNotDocker is for programs that ask this machine's registry by themselves.
var errNotDocker = errors.New("the registry of this machine serves its Docker Engine only; use docker or `crawlbox images`, or push from elsewhere after `crawlbox registry login`")

// owns says whether the Docker Engine of this machine, or this process, has the
// socket whose own address is local and which is connected to remote. The
// engine is asked who it is each time: the number of a process that ended can
// belong to any other soon after.
func owns(ctx context.Context, engine *swarm.Engine, local, remote netip.AddrPort) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	pid, err := engine.Process(ctx)
	if err == nil {
		docker, err := sockowner.Holds(pid, local, remote)
		if docker || err != nil {
			return docker, err
		}
	}
	if own, ownErr := sockowner.Holds(os.Getpid(), local, remote); own || ownErr != nil {
		return own, ownErr
	}
	return false, err
}

// dockerOnly is the rule of the registry on loopback. Spiders run on the host's
// network and read what strangers wrote: they must not get at images there.
func (g *ground) dockerOnly(r *http.Request) error {
	proof, _ := r.Context().Value(proofKey{}).(*atomic.Bool)
	if proof != nil && proof.Load() {
		return nil
	}
	server, client, err := ends(r)
	if err != nil {
		return err
	}
	if err := g.ownDocker(r.Context(), client, server, errNotDocker); err != nil {
		return err
	}
	if proof != nil {
		proof.Store(true)
	}
	admit(r, "docker")
	return nil
}

// ownDocker returns nil if it is this machine's Docker Engine that asks the
// registry, and other if it is another program here.
func (g *ground) ownDocker(ctx context.Context, client, server netip.AddrPort, other error) error {
	ok, err := owns(ctx, g.engine, client, server)
	switch {
	case err != nil:
		return fmt.Errorf("find out who asks the registry: %w", err)
	case !ok:
		return other
	}
	return nil
}

// admit exempts the connection of a request from the limits for strangers.
func admit(r *http.Request, who string) { guard.AdmitRequest(r.Context(), who) }

// proofKey finds what was proved of a connection: that it is Docker's.
type proofKey struct{}

// provable is an http.Server.ConnContext for dockerOnly.
func provable(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(guard.ConnContext(ctx, c), proofKey{}, new(atomic.Bool))
}

// ends are the two addresses of the connection that a request came by.
func ends(r *http.Request) (server, client netip.AddrPort, err error) {
	conn := guard.Conn(r.Context())
	if conn == nil {
		return server, client, errors.New("the connection of the request is not known")
	}
	server, err = netip.ParseAddrPort(conn.LocalAddr().String())
	if err == nil {
		client, err = netip.ParseAddrPort(conn.RemoteAddr().String())
	}
	return server, client, err
}

// loopbackName says whether a Host header names the registry on loopback: a page
// in a browser that had its own name point there would send that name.
func (g *ground) loopbackName(hostport string) bool {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || port != fmt.Sprint(g.cfg.Registry.Port) {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
