package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
)

// A piece is with the one who gives it until it is sent, however slow the line is: its
// slot is taken, and it can be called off.
func TestHTTP_Unsent(t *testing.T) {
	t.Parallel()
	const slow = 512 << 10 // bytes a second
	manager := newSite(t, exchange.Options{}, func(srv *http.Server) {
		srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			slowDown(t, c, slow)
			return ctx
		}
	})
	_, d := manager.put(1 << 20)
	asker := newSite(t, exchange.Options{})

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	to := landed{room: make([]byte, 1<<20), more: func(got int) error {
		if ahead := int(manager.Stats().Sent) - got; ahead > 6*unsent {
			return fmt.Errorf("after %d bytes the one who gives has let go of %d more", got, ahead)
		}
		return nil
	}}
	if err := asker.network.Take(ctx, manager.addr, d, exchange.Ask{Piece: 0}, &to); err != nil {
		t.Fatal(err)
	}
	if to.got != 1<<20 {
		t.Errorf("%d bytes have come", to.got)
	}
}

// slowDown bounds what the kernel sends over a TLS connection, in bytes a second.
func slowDown(t *testing.T, c net.Conn, rate int) {
	raw, err := c.(*tls.Conn).NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, rate)
	}); err != nil || failed != nil {
		t.Error(err, failed)
	}
}
