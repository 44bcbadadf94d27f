package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
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
	srv := Site{Handler: meanwhile}.server(ctx, slog.New(slog.DiscardHandler))
	var serving sync.WaitGroup
	serving.Go(func() {
		if clock.Sleep(ctx, after) == nil {
			_ = srv.Serve(lent{ln}) // ends by end
		}
	})
	return &lobby{ln, sync.OnceFunc(func() {
		stop, stopped := context.WithTimeout(context.Background(), lastWords)
		defer stopped()
		if srv.Shutdown(stop) != nil {
			srv.Close()
		}
		cancel()
		serving.Wait()
		_ = ln.SetDeadline(time.Time{}) // fails where it is closed
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

// lent is a socket of which a server only stops to accept when it closes it.
type lent struct{ *net.UnixListener }

func (l lent) Close() error { return l.SetDeadline(time.Unix(1, 0)) }
