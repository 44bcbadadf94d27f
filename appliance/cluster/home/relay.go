package home

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// maxRelayed bounds the connections that are passed on at the same time.
	maxRelayed = 4096
	dialLimit  = 5 * time.Second
)

// relay passes connections to the queue on that went to this machine while it was its home, until ctx ends:
// services know that address until they are deployed again. They may have none else, so that it begins before
// the node does. On loopback there is the node's own front of the queue.
func relay(ctx context.Context, cfg configs.Config, log *slog.Logger) {
	moved, err := Moved(cfg.DataDir)
	id, joined := setup.JoinedAs(cfg)
	if err != nil || moved == nil || joined != nil || cfg.Queue == nil {
		return
	}
	to := netip.AddrPortFrom(moved.Addr, cfg.Queue.Port).String()
	doctor.AwaitUsable(ctx, id.Self.Addr)
	// That of this node before it began anew ends a moment later.
	at := netip.AddrPortFrom(doctor.BindAddr(id.Self.Addr), cfg.Queue.Port)
	ln, err := doctor.ListenSoon(at, "queue.port")
	if err != nil {
		log.Warn("failed to pass connections to the queue on", "error", err)
		return
	}
	go accept(ctx, ln, to)
}

// accept passes the connections of a listener on, until ctx ends.
func accept(ctx context.Context, ln net.Listener, to string) {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	free := make(chan struct{}, maxRelayed)
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		select {
		case free <- struct{}{}:
			all.Go(func() { pass(ctx, conn, to); <-free })
		default:
			conn.Close()
		}
	}
}

// pass carries one connection, until either end closes it or ctx ends.
func pass(ctx context.Context, conn net.Conn, to string) {
	defer conn.Close()
	far, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { conn.Close(); far.Close() })()
	ended := make(chan struct{}, 2)
	carry := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src)
		dst.Close() // nobody of Redis' clients closes one half
		ended <- struct{}{}
	}
	go carry(far, conn)
	go carry(conn, far)
	<-ended
	<-ended
}
