package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http2"
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
	// frame is how much is sent at a time.
	frame = 256 << 10
)

// serveMux upgrades a connection and answers on it until either side ends it.
func serveMux(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	if r.Header.Get("Upgrade") != muxProtocol {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(r.Context(), func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+muxProtocol+"\r\n\r\n"); err != nil {
		return
	}
	srv := &http2.Server{MaxReadFrameSize: frame, IdleTimeout: 2 * muxIdle}
	srv.ServeConn(conn, &http2.ServeConnOpts{Context: r.Context(), Handler: handler, BaseConfig: &http.Server{ErrorLog: log.New(io.Discard, "", 0)}})
}

// mux has the connections to other nodes.
type mux struct {
	client *http.Client
	h2     http2.Transport

	mu    sync.Mutex
	nodes map[string]*muxNode
}

// muxNode is the connection to one node, if there is one. The lock is held while it
// is made, so that all who want it wait for the same.
type muxNode struct {
	making chan struct{} // holds one token
	conn   *http2.ClientConn
}

func newMux(client *http.Client) *mux {
	return &mux{
		client: client, nodes: map[string]*muxNode{},
		h2: http2.Transport{
			AllowHTTP: true, DisableCompression: true, MaxReadFrameSize: frame,
			IdleConnTimeout: muxIdle, ReadIdleTimeout: muxPing, PingTimeout: muxTimeout,
		},
	}
}

// do sends a request over the connection to its host.
func (m *mux) do(req *http.Request) (*http.Response, error) {
	conn, err := m.conn(req.Context(), req.URL.Host)
	if err != nil {
		return nil, err
	}
	return conn.RoundTrip(req)
}

func (m *mux) conn(ctx context.Context, node string) (*http2.ClientConn, error) {
	m.mu.Lock()
	n := m.nodes[node]
	if n == nil {
		n = &muxNode{making: make(chan struct{}, 1)}
		m.nodes[node] = n
	}
	m.mu.Unlock()
	select {
	case n.making <- struct{}{}:
		defer func() { <-n.making }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if n.conn != nil && n.conn.CanTakeNewRequest() {
		return n.conn, nil
	}
	conn, err := m.dial(ctx, node)
	n.conn = conn
	return conn, err
}

func (m *mux) dial(ctx context.Context, node string) (*http2.ClientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, muxTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+node+muxPath, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", muxProtocol)
	resp, err := m.client.Do(req)
	var where *url.Error // its text repeats the whole URL
	if errors.As(err, &where) {
		return nil, where.Err
	}
	if err != nil {
		return nil, err
	}
	stream, ok := resp.Body.(io.ReadWriteCloser)
	switch {
	case resp.StatusCode == http.StatusNotFound:
		resp.Body.Close()
		return nil, ErrUnknown // of a version that exchanges nothing
	case resp.StatusCode != http.StatusSwitchingProtocols || !ok:
		resp.Body.Close()
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	conn, err := m.h2.NewClientConn(streamConn{stream})
	if err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	return conn, nil
}

// close ends all connections.
func (m *mux) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.nodes {
		n.making <- struct{}{}
		if n.conn != nil {
			n.conn.Close()
		}
		<-n.making
	}
}

// streamConn is an upgraded connection as a net.Conn. HTTP/2 sets no deadlines as it
// is used here, and asks for no addresses.
type streamConn struct{ io.ReadWriteCloser }

func (streamConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (streamConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (streamConn) SetDeadline(time.Time) error      { return nil }
func (streamConn) SetReadDeadline(time.Time) error  { return nil }
func (streamConn) SetWriteDeadline(time.Time) error { return nil }
