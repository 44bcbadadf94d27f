//go:build failpoints

package failpoint

import (
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// Hang does not return while the file that the environment names has p in it.
func Hang(p Point) {
	for {
		text, _ := os.ReadFile(os.Getenv(EnvHang))
		if !slices.Contains(strings.Fields(string(text)), string(p)) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Handler returns a handler that hangs at p, and is as h otherwise.
func Handler(p Point, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Hang(p)
		h.ServeHTTP(w, r)
	})
}

// Listener returns a listener whose connections hang at p when they are read.
func Listener(p Point, ln net.Listener) net.Listener { return &listener{ln, p} }

type listener struct {
	net.Listener
	p Point
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{c, l.p}, nil
}

type conn struct {
	net.Conn
	p Point
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	Hang(c.p)
	return n, err
}

// NetConn returns the connection beneath, as tls.Conn does.
func (c *conn) NetConn() net.Conn { return c.Conn }
