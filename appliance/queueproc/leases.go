package queueproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/holder/ask"
	"github.com/crawlbox/crawlbox/appliance/queueproc/leases"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/queue"
	"github.com/crawlbox/crawlbox/embedded/queue/front"
	"github.com/crawlbox/crawlbox/embedded/queue/keeper"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
)

// Leases say what of the queue comes back from containers that end without being done.
type Leases struct {
	Rules lease.Rules `json:"rules"`
	Node  string      `json:"node"` // the ID of this node
}

// LeasesOf returns the leases that a queue's config asks for on a node, nil where it asks for none.
func LeasesOf(q configs.Queue, node string) *Leases {
	if len(q.Safe) == 0 {
		return nil
	}
	return &Leases{Rules: leases.Rules(q), Node: node}
}

// fronted is a front, with what keeps its clients' leases and with the engine where that is the process's own.
type fronted struct {
	*front.Server
	keeper *keeper.Keeper // nil: nothing is leased
	own    *queue.Server  // nil: the engine is elsewhere
	ready  chan struct{}
	log    *slog.Logger
}

// upTimeout is for looking at all who hold something.
const upTimeout = 30 * time.Second

// newFront puts a front before an engine, and before own where that is the engine.
func (c *child) newFront(set settings, opts front.Options, own *queue.Server) (*fronted, error) {
	f := &fronted{own: own, ready: make(chan struct{}), log: c.log}
	if set.Leases != nil {
		conn, err := net.FileConn(c.asking)
		if err != nil {
			return nil, fmt.Errorf("open the socket for questions: %w", errors.Join(err, c.asking.Close()))
		}
		c.asking.Close()
		f.keeper = keeper.New(keeper.Options{
			Rules:      set.Leases.Rules,
			Node:       set.Leases.Node,
			Engine:     opts.Engine,
			Containers: containers{ask.New(conn)},
		}, c.log)
		opts.Rewriter = f.keeper
	}
	var err error
	f.Server, err = front.New(opts, c.log)
	return f, err
}

// Ready is closed once clients are let in and the process's own engine has read its journal.
func (f *fronted) Ready() <-chan struct{} { return f.ready }

// Run serves clients until ctx ends, or an engine of its own does. That is the last to stop.
func (f *fronted) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	engine, stopEngine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopEngine()
	ended := make(chan error, 1)
	if f.own == nil {
		ended <- nil
	} else {
		go func() {
			ended <- f.own.Run(engine)
			cancel()
		}()
	}
	if f.keeper != nil {
		group.Go(func() { f.keeper.Run(ctx) })
	}
	group.Go(func() { f.awaitReady(ctx) })
	err := f.Server.Run(ctx)
	cancel()
	group.Wait()
	stopEngine()
	return cmp.Or(<-ended, err)
}

// setEngine has another engine take the place of the one before.
func (f *fronted) setEngine(e front.Engine) {
	if f.keeper != nil {
		f.keeper.SetEngine(e)
	}
	f.Server.SetEngine(e)
}

// up gives back what is held on nodes that are lost.
func (f *fronted) up(ctx context.Context, nodes []string) {
	if f.keeper == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	if err := f.keeper.Up(ctx, nodes); err != nil {
		f.log.Debug("failed to look for items that are held on lost nodes; will retry", "error", err)
	}
}

func (f *fronted) awaitReady(ctx context.Context) {
	all := []<-chan struct{}{f.Server.Ready()}
	if f.own != nil {
		all = append(all, f.own.Ready())
	}
	for _, ready := range all {
		select {
		case <-ready:
		case <-ctx.Done():
			return
		}
	}
	close(f.ready)
}

// progress returns how the queue is doing, and why its engine can't be used.
func (f *fronted) progress() (queue.Progress, string) {
	is := f.Server.Progress()
	if f.own != nil {
		p := f.own.Progress()
		p.Clients = is.Clients
		return p, "" // it tells itself
	}
	return queue.Progress{
		Commands: is.Commands, Keys: is.Keys, Memory: is.Memory, Bound: is.Bound, Clients: is.Clients,
	}, is.Problem
}

// containers asks the node about the containers of clients. A run of a container is known by an ID of its own:
//
//	CONTAINER@STARTED, in nanoseconds of Unix time with the base 36
type containers struct{ node *ask.Client }

// Who implements keeper.Containers.
func (c containers) Who(ctx context.Context, client net.Conn, accepted time.Time) (is keeper.Container, err error) {
	local, err := addrPort(client.LocalAddr())
	if err != nil {
		return is, err
	}
	remote, err := addrPort(client.RemoteAddr())
	if err != nil {
		return is, err
	}
	h, found, err := c.node.Who(ctx, local, remote, accepted)
	if err != nil || !found {
		return is, err
	}
	return keeper.Container{ID: runID(h.Run), Name: h.Name}, nil
}

func addrPort(a net.Addr) (netip.AddrPort, error) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%v is not an address of TCP", a)
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), nil
}

// Ended implements keeper.Containers.
func (c containers) Ended(ctx context.Context, id string) (clean bool, err error) {
	run, ok := parseRunID(id)
	if !ok {
		return false, nil // of no crawlbox that we know
	}
	ending, err := c.node.Ended(ctx, run)
	return ending.Done(), err
}

func runID(r ask.Run) string { return r.ID + "@" + strconv.FormatInt(r.Started, 36) }

func parseRunID(id string) (r ask.Run, ok bool) {
	name, started, _ := strings.Cut(id, "@")
	at, err := strconv.ParseInt(started, 36, 64)
	r = ask.Run{ID: name, Started: at}
	return r, err == nil && r.Valid()
}

// inside is where an engine of the process's own has its clients: the front beside it. The process can make no sockets,
// so that it gets pairs of them as it gets connections to other engines.
type inside struct {
	pairs  *connector
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newInside(pairs *connector) *inside {
	return &inside{pairs: pairs, dialed: make(chan net.Conn), closed: make(chan struct{})}
}

// dial returns a connection to the engine, once that accepts it.
func (i *inside) dial(ctx context.Context) (net.Conn, error) {
	pair, err := i.pairs.connect(ctx)
	if err != nil {
		return nil, err
	}
	if len(pair) != 2 {
		pair.Close()
		return nil, errors.New("the manager's answer has no pair of sockets")
	}
	select {
	case i.dialed <- insideConn{pair[1]}:
		return pair[0], nil
	case <-i.closed:
		err = net.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	pair.Close()
	return nil, err
}

// Accept implements net.Listener.
func (i *inside) Accept() (net.Conn, error) {
	select {
	case conn := <-i.dialed:
		return conn, nil
	case <-i.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (i *inside) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

// Addr implements net.Listener: what the engine takes for an address.
func (i *inside) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// insideConn is a connection of the front, as one from an address.
type insideConn struct{ net.Conn }

// RemoteAddr implements net.Conn.
func (insideConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// NetConn returns the connection.
func (i insideConn) NetConn() net.Conn { return i.Conn }

// openQuestions returns the socket over which the process asks about containers, which are answered until it is closed
// everywhere; nil where nothing is leased.
func (s *Supervisor) openQuestions() (theirs *os.File, err error) {
	if s.opts.Leases == nil {
		return nil, nil
	}
	ours, theirs, err := socketPair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	go func() {
		if err := s.opts.Holders(context.Background(), ours); err != nil {
			s.log.Warn("the queue's process asked what it can't be told", "error", err)
		}
	}()
	return theirs, nil
}

// Up has what is held on nodes that are lost go back. It is called again and again with the IDs of those that are not.
func (s *Supervisor) Up(nodes []string) {
	select {
	case s.up <- nodes:
	default: // the process starts, or has yet to take the last ones
	}
}
