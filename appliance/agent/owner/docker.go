// Package owner finds out which program has the other end of a connection to a registry of
// the cluster: the Docker Engine of its machine, or any other program, such as a spider.
// Spiders run on the host's network and read what strangers wrote, so they must not get at
// images. This machine's connections are looked up in the kernel (sockowner), those of
// others are asked about.
package owner

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
)

// proofTimeout bounds how long it may take to find out who is at the other end
// of a connection.
const proofTimeout = 5 * time.Second

// errNotDocker is for programs that ask this machine's registry by themselves.
var errNotDocker = errors.New(
	"the registry of this machine serves its Docker Engine only; use docker or `crawlbox images`, or push from " +
		"elsewhere after `crawlbox registry login`")

// Prover finds out whose connections to this machine are. Its methods may be called at the
// same time.
type Prover struct{ sockets *sockowner.Prover }

// NewProver proves by the process of the Docker Engine, which is asked for when it is
// needed; what this process itself has counts as well.
func NewProver(docker func(context.Context) (pid int, err error)) *Prover {
	return &Prover{sockowner.NewProver(func(ctx context.Context) ([]int, error) {
		pid, err := docker(ctx)
		if err != nil {
			return []int{os.Getpid()}, err
		}
		return []int{pid, os.Getpid()}, nil
	})}
}

// owns reports whether the Docker Engine of this machine, or this process, has the
// socket whose own address is local and which is connected to remote.
func (p *Prover) owns(ctx context.Context, local, remote netip.AddrPort) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	return p.sockets.Holds(ctx, local, remote)
}

// proof holds what was found out about a connection, and is good for as long as that lives.
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

// DockerOnly enforces the rule of the registry on loopback.
func (p *Prover) DockerOnly(r *http.Request) error {
	server, client, err := ends(r)
	if err != nil {
		return err
	}
	if err := p.ownDocker(r.Context(), client, server, errNotDocker); err != nil {
		return err
	}
	Admit(r, "docker")
	return nil
}

// ownDocker returns nil if it is this machine's Docker Engine that asks the
// registry, and other if it is another program here.
func (p *Prover) ownDocker(ctx context.Context, client, server netip.AddrPort, other error) error {
	ok, err := proofOf(ctx).of(func() (bool, error) { return p.owns(ctx, client, server) })
	switch {
	case err != nil:
		return fmt.Errorf("find out who asks the registry: %w", err)
	case !ok:
		return other
	}
	return nil
}

// Admit exempts the connection of a request from the limits for strangers.
func Admit(r *http.Request, who string) { guard.AdmitRequest(r.Context(), who) }

type proofKey struct{}

// Provable is an http.Server.ConnContext that remembers what is found out of a connection.
func Provable(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(guard.ConnContext(ctx, c), proofKey{}, new(proof))
}

func proofOf(ctx context.Context) *proof {
	p, _ := ctx.Value(proofKey{}).(*proof)
	return p
}

// ends returns the two addresses of the connection by which a request came.
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
