package guard

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// serve runs an HTTPS server behind the guard that admits whoever asks for
// /admit, and returns the config of a client for it.
func serve(t *testing.T, l *Listener) *tls.Config {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/admit", func(_ http.ResponseWriter, r *http.Request) { AdmitRequest(r.Context(), "node-a") })
	mux.HandleFunc("/ping", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "pong") })
	s := httptest.NewUnstartedServer(mux)
	s.Listener.Close()
	s.Listener = l
	s.Config.ConnContext = ConnContext
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that were cut off
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Client().Transport.(*http.Transport).TLSClientConfig
}

// client is one TLS connection with requests on it.
type client struct {
	*tls.Conn
	r *bufio.Reader
}

func dialTLS(t *testing.T, l *Listener, conf *tls.Config, from string) client {
	t.Helper()
	conf = conf.Clone()
	conf.ServerName = "example.com"
	c := tls.Client(dial(t, l, from), conf)
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return client{c, bufio.NewReader(c)}
}

func (c client) get(path string) error {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: example.com\r\n\r\n", path); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func TestListener_ServesWhileOneAddressFloods(t *testing.T) {
	t.Parallel()
	l := listen(t, Limits{Strangers: 100})
	conf := serve(t, l)
	early := dialTLS(t, l, conf, "127.0.0.1")
	if err := early.get("/admit"); err != nil {
		t.Fatal(err)
	}
	var flood sync.WaitGroup
	half := make(chan struct{})
	flood.Go(func() {
		defer close(half)
		for i := range 2000 {
			c, err := tryDial(t, l, "127.0.0.1")
			if err != nil {
				t.Errorf("flood: %v", err)
				return
			}
			t.Cleanup(func() { c.Close() })
			if i == 1000 {
				half <- struct{}{}
			}
		}
	})
	<-half
	for range 20 {
		late := dialTLS(t, l, conf, "127.0.0.2")
		if err := late.get("/ping"); err != nil {
			t.Errorf("a stranger of another address is not served: %v", err)
		}
		late.Close()
	}
	flood.Wait()
	if err := early.get("/ping"); err != nil {
		t.Errorf("an admitted client of the address that floods is not served: %v", err)
	}
	late := dialTLS(t, l, conf, "127.0.0.1")
	if err := late.get("/ping"); err != nil {
		t.Errorf("a newcomer of the address that flooded is not served: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.strangers.n > 100 || l.strangers.top > 64 {
		t.Errorf("%d strangers, %d of one address", l.strangers.n, l.strangers.top)
	}
}

func TestListener_PatienceOfAServer(t *testing.T) {
	t.Parallel()
	l := listen(t, Limits{Patience: 3 * time.Second})
	conf := serve(t, l)
	silent := dial(t, l, "127.0.0.1")
	stranger := dialTLS(t, l, conf, "127.0.0.1")
	node := dialTLS(t, l, conf, "127.0.0.1")
	if err := node.get("/admit"); err != nil {
		t.Fatal(err)
	}
	if err := stranger.get("/ping"); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, silent)
	wantClosed(t, stranger)
	if err := node.get("/ping"); err != nil {
		t.Errorf("an admitted client was closed: %v", err)
	}
	l.Drop("node-a")
	if err := node.get("/ping"); err == nil {
		t.Error("a dropped client is still served")
	}
}

func TestAdmit_LeavesOtherConnectionsAlone(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer b.Close()
	Admit(nil, "node-a")
	Admit(a, "node-a")
	Admit(tls.Server(a, &tls.Config{}), "node-a")
	AdmitRequest(t.Context(), "node-a")
	if Conn(t.Context()) != nil {
		t.Error("a context without ConnContext has a connection")
	}
	a.Close()
}

// fake is a connection that costs nothing.
type fake struct {
	net.Conn
	addr net.Addr
}

func (f fake) RemoteAddr() net.Addr { return f.addr }
func (f fake) Close() error         { return nil }

// endless accepts connections of 1,000 addresses in turn.
type endless struct {
	net.Listener
	n *int
}

func (e endless) Accept() (net.Conn, error) {
	*e.n++
	return fake{addr: &net.TCPAddr{IP: net.IPv4(10, 0, byte(*e.n%1000/250), byte(*e.n%250))}}, nil
}

func BenchmarkAccept_FullBooks(b *testing.B) {
	l := New(endless{n: new(int)}, Limits{})
	for range 5000 {
		l.Accept()
	}
	for b.Loop() {
		if _, err := l.Accept(); err != nil {
			b.Fatal(err)
		}
	}
}
