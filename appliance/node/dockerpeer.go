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

// newProver makes what says of connections to this machine whether its Docker Engine, or
// this process, has the other end.
func newProver(engine *swarm.Engine) *sockowner.Prover {
	return sockowner.NewProver(func(ctx context.Context) ([]int, error) {
		pid, err := engine.Process(ctx)
		if err != nil {
			return []int{os.Getpid()}, err
		}
		return []int{pid, os.Getpid()}, nil
	})
}

// owns says whether the Docker Engine of this machine, or this process, has the
// socket whose own address is local and which is connected to remote.
func (g *ground) owns(ctx context.Context, local, remote netip.AddrPort) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	return g.prover.Holds(ctx, local, remote)
}

// proof is what was found out of a connection, which holds for as long as it lives.
type proof struct{ known atomic.Int32 }

const (
	proofNone = iota
	proofDocker
	proofOther
)

// of asks at the first request of a connection who has its other end. An error leaves
// that open.
func (p *proof) of(ask func() (docker bool, err error)) (docker bool, err error) {
	if p == nil {
		return ask()
	}
	switch p.known.Load() {
	case proofDocker:
		return true, nil
	case proofOther:
		return false, nil
	}
	docker, err = ask()
	switch {
	case err != nil:
	case docker:
		p.known.Store(proofDocker)
	default:
		p.known.Store(proofOther)
	}
	return docker, err
}

// dockerOnly is the rule of the registry on loopback. Spiders run on the host's
// network and read what strangers wrote: they must not get at images there.
func (g *ground) dockerOnly(r *http.Request) error {
	server, client, err := ends(r)
	if err != nil {
		return err
	}
	if err := g.ownDocker(r.Context(), client, server, errNotDocker); err != nil {
		return err
	}
	admit(r, "docker")
	return nil
}

// ownDocker returns nil if it is this machine's Docker Engine that asks the
// registry, and other if it is another program here.
func (g *ground) ownDocker(ctx context.Context, client, server netip.AddrPort, other error) error {
	ok, err := proofOf(ctx).of(func() (bool, error) { return g.owns(ctx, client, server) })
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

type proofKey struct{}

// provable is an http.Server.ConnContext that remembers what is found out of a connection.
func provable(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(guard.ConnContext(ctx, c), proofKey{}, new(proof))
}

func proofOf(ctx context.Context) *proof {
	p, _ := ctx.Value(proofKey{}).(*proof)
	return p
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
