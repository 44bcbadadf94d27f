package home

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// maxRelayed bounds the connections that are passed on at the same time.
	maxRelayed = 4096
	dialLimit  = 5 * time.Second
)

// Relay passes connections to the queue on that went to this node while it was its home: services know that
// address until they are deployed again.
func Relay(cfg configs.Config, self netip.Addr, log *slog.Logger) lifecycle.Part {
	return lifecycle.Background("relay of the queue", func(ctx context.Context) error {
		moved, err := Moved(cfg.DataDir)
		if err != nil || moved == nil || cfg.Queue == nil {
			<-ctx.Done()
			return err
		}
		to := netip.AddrPortFrom(moved.Addr, cfg.Queue.Port).String()
		var all sync.WaitGroup
		for _, at := range []netip.Addr{doctor.BindAddr(self), netip.AddrFrom4([4]byte{127, 0, 0, 1})} {
			ln, err := net.Listen("tcp", netip.AddrPortFrom(at, cfg.Queue.Port).String())
			if err != nil {
				log.Warn("failed to pass connections to the queue on", "error", err)
				continue
			}
			all.Go(func() { accept(ctx, ln, to) })
		}
		all.Wait()
		<-ctx.Done()
		return nil
	})
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
