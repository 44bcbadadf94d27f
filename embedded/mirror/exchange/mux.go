package exchange

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Two nodes have one connection for all they ask each other, as a TLS handshake costs
// as much processor time as a piece. It begins as HTTP/1.1 and is upgraded to HTTP/2
// once the node port knows that a node asks: strangers never speak to HTTP/2 here.
const (
	muxPath     = Path + "mux"
	muxProtocol = "crawlbox-pieces"
	muxTimeout  = 5 * time.Second // for the upgrade
	// muxIdle is for how long a connection is kept that nothing goes over, and muxPing
	// after what silence it is tried whether it still stands.
	muxIdle = 2 * time.Minute
	muxPing = 10 * time.Second
	// frame is how much is sent at a time, in bytes: each frame costs some changes
	// between goroutines.
	frame = 128 << 10
)

// http2Only has no other protocol, and no TLS: that is below.
func http2Only() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// muxClient sends requests for http://NODE over connections to nodes that client
// reaches by HTTPS, until ctx ends.
func muxClient(ctx context.Context, client *http.Client) *http.Client {
	return &http.Client{Transport: &http.Transport{
		Protocols:          http2Only(),
		HTTP2:              &http.HTTP2Config{MaxReadFrameSize: frame, SendPingTimeout: muxPing, PingTimeout: muxTimeout},
		IdleConnTimeout:    muxIdle,
		MaxConnsPerHost:    1,
		DisableCompression: true,
		DialContext: func(dial context.Context, _, node string) (net.Conn, error) {
			conn, err := upgrade(dial, client, node)
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			return conn, nil
		},
	}}
}

// upgrade makes a connection to a node and asks it for HTTP/2.
func upgrade(ctx context.Context, client *http.Client, node string) (*upgraded, error) {
	ctx, cancel := context.WithTimeout(ctx, muxTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+node+muxPath, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", muxProtocol)
	resp, err := client.Do(req)
	if err != nil {
		return nil, WithoutURL(err)
	}
	stream, ok := resp.Body.(io.ReadWriteCloser)
	if ok && resp.StatusCode == http.StatusSwitchingProtocols {
		return &upgraded{ReadWriteCloser: stream}, nil
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, ErrUnknown // of a version that exchanges nothing
	}
	return nil, fmt.Errorf("it answers %s", resp.Status)
}

// serveMux upgrades a connection and answers on it until either side ends it.
func serveMux(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	if r.Header.Get("Upgrade") != muxProtocol {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	hijacked, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	holdBack(hijacked)
	conn := &upgraded{ReadWriteCloser: hijacked, closed: make(chan struct{})}
	defer conn.Close()
	stop := context.AfterFunc(r.Context(), func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+muxProtocol+"\r\n\r\n"); err != nil {
		return
	}
	srv := &http.Server{
		Protocols:   http2Only(),
		HTTP2:       &http.HTTP2Config{MaxReadFrameSize: frame},
		IdleTimeout: 2 * muxIdle,
		ErrorLog:    log.New(io.Discard, "", 0),
		BaseContext: func(net.Listener) context.Context { return r.Context() },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, inner *http.Request) {
			inner.TLS, inner.RemoteAddr = r.TLS, r.RemoteAddr
			handler.ServeHTTP(w, inner)
		}),
	}
	_ = srv.Serve(&single{conn: conn}) // always ends with the connection
}

// upgraded is a connection as HTTP/2 uses it: without deadlines and addresses.
type upgraded struct {
	io.ReadWriteCloser
	once   sync.Once
	closed chan struct{} // nil: nobody waits for it
}

func (c *upgraded) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		if err = c.ReadWriteCloser.Close(); c.closed != nil {
			close(c.closed)
		}
	})
	return err
}

func (*upgraded) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*upgraded) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*upgraded) SetDeadline(time.Time) error      { return nil }
func (*upgraded) SetReadDeadline(time.Time) error  { return nil }
func (*upgraded) SetWriteDeadline(time.Time) error { return nil }

// single is a listener with one connection.
type single struct {
	conn  *upgraded
	given bool
}

func (s *single) Accept() (net.Conn, error) {
	if !s.given {
		s.given = true
		return s.conn, nil
	}
	<-s.conn.closed
	return nil, net.ErrClosed
}

func (s *single) Close() error   { return s.conn.Close() }
func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }
