package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

const (
	// quickStart is how long calls wait for a node that starts before they are answered in words.
	quickStart = 3 * time.Second
	// lastWords is how long such an answer may still take once the node serves.
	lastWords = time.Second
)

// lobby is the socket of a node that is being set up. Its calls are answered by a handler, until the first
// Accept of who serves the socket for good.
type lobby struct {
	*net.UnixListener
	end func() // once; the socket is free then
}

// newLobby has a handler answer the calls of a socket, from some time on.
func newLobby(ln *net.UnixListener, meanwhile http.Handler, after time.Duration) *lobby {
	ctx, cancel := context.WithCancel(context.Background())
	open, closing := context.WithCancel(ctx)
	srv := Site{Handler: meanwhile}.server(ctx, slog.New(slog.DiscardHandler))
	var serving, calls sync.WaitGroup
	srv.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			calls.Add(1)
		case http.StateClosed:
			calls.Done()
		}
	}
	serving.Go(func() {
		if clock.Sleep(open, after) == nil {
			_ = srv.Serve(lent{ln}) // ends by end
		}
	})
	return &lobby{ln, sync.OnceFunc(func() {
		closing()
		_ = ln.SetDeadline(past) // fails where it is closed
		serving.Wait()
		// No Shutdown: it has the server drop a call whose request it has not read yet.
		srv.SetKeepAlivesEnabled(false)
		late := time.AfterFunc(lastWords, func() {
			cancel()
			srv.Close()
		})
		calls.Wait()
		late.Stop()
		cancel()
		_ = ln.SetDeadline(time.Time{})
	})}
}

// Accept ends the lobby.
func (l *lobby) Accept() (net.Conn, error) {
	l.end()
	return l.UnixListener.Accept()
}

func (l *lobby) Close() error {
	l.end()
	return l.UnixListener.Close()
}

// lent is a socket that is closed for a server when its deadline is past.
type lent struct{ *net.UnixListener }

var past = time.Unix(1, 0)

func (l lent) Accept() (net.Conn, error) {
	c, err := l.UnixListener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = net.ErrClosed
	}
	return c, err
}

func (l lent) Close() error { return nil }
