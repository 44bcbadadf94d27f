package wire

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
)

// Once a node says that nothing more may come over a connection, there is another one;
// what is still under way on the first goes on.
func TestLink_Close(t *testing.T) {
	t.Parallel()
	manager, sites := newSites(t, 1, exchange.Options{})
	_, d := manager.put(2 << 20)
	var upgrades atomic.Int32
	held, release := make(chan struct{}), make(chan struct{})
	before := func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == framesPath:
			upgrades.Add(1)
		case strings.HasSuffix(r.URL.Path, "/news"):
			close(held)
			<-release
		case r.Method == http.MethodGet: // the table
			w.Header().Set("Connection", "close")
		}
		return false
	}
	manager.before.Store(&before)
	network := sites[0].network
	var wg sync.WaitGroup
	wg.Go(func() {
		heard := false
		err := network.Follow(t.Context(), manager.addr, d, func(n exchange.News) { heard = n.Have.Count() == 2 })
		if err != nil || !heard {
			t.Errorf("what was asked before: heard: %v, %v", heard, err)
		}
	})
	<-held
	for i := range 3 {
		if _, err := network.Table(t.Context(), manager.addr, d); err != nil {
			t.Fatal(err)
		}
		if n := int(upgrades.Load()); n != i+1 {
			t.Errorf("table %d came over connection %d", i+1, n)
		}
	}
	close(release)
	wg.Wait()
}

// A fetch that no longer wants an answer does not get it, nor wait for it.
func TestLink_Leave(t *testing.T) {
	t.Parallel()
	manager, sites := newSites(t, 1, exchange.Options{})
	_, d := manager.put(2 << 20)
	asked, left := make(chan struct{}), make(chan struct{})
	manager.spoil("/take", func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(left)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if err := sites[0].network.Take(ctx, manager.addr, d, exchange.Ask{},
		&landed{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-left
	manager.before.Store(nil)
	to := landed{room: make([]byte, 1<<20)}
	if err := sites[0].network.Take(t.Context(), manager.addr, d, exchange.Ask{}, &to); err != nil || to.got != 1<<20 {
		t.Errorf("after that, %d bytes, %v", to.got, err)
	}
}

// A link that nobody uses ends, and one that is used does not.
func TestLink_Rest(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	l := newLink(here)
	s := newStream(&whole{})
	if err := l.enter(s); err != nil {
		t.Fatal(err)
	}
	if l.rest(); !l.takes() {
		t.Error("it ended while it was used")
	}
	s.end(nil)
	l.depart(s)
	if l.rest(); l.takes() {
		t.Error("it did not end")
	}
	if err := l.ask(t.Context(), nil, &whole{}); !errors.Is(err, errNotAsked) {
		t.Errorf("asked after that: %v", err)
	}
}

// What is not as it should be ends the link, and with it what was asked.
func TestLink_Nonsense(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"too long":   {string(head(nil, frameData, 1, maxFrame+1)), errFrames.Error()},
		"no kind":    {string(head(nil, 77, 1, 0)), errFrames.Error()},
		"a question": {string(head(nil, frameAsk, 1, 0)), errFrames.Error()},
		"no status":  {string(head(nil, frameAnswer, 1, 3)) + "abc", errFrames.Error()},
		"no question": {string(head(nil, frameData, 9, 3)) + "abc" + string(
			head(nil, frameBroken, 1, 0)), io.ErrUnexpectedEOF.Error()},
		"an early end":  {string(head(nil, frameAnswer, 1, 6)) + "\x00", io.ErrUnexpectedEOF.Error()},
		"ends":          {"", "it ended the connection"},
		"a status":      {string(head(nil, frameAnswer, 1, 6)) + "\x02\x12\xff\xff\xff\xff", "it answers 530"},
		"more than due": {string(head(nil, frameAnswer, 1, 12)) + "\x00\xc8\xff\xff\xff\xffsixsix", errLong.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, there := net.Pipe()
			l := newLink(here)
			var wg sync.WaitGroup
			wg.Go(l.read)
			wg.Go(func() {
				defer there.Close()
				r := bufio.NewReader(there)
				if kind, id, n, err := readHead(r, maxAsk); kind != frameAsk || id != 1 || n != 2 || err != nil {
					t.Error(kind, id, n, err)
				}
				_, _ = r.Discard(2)
				_, _ = io.WriteString(there, c.answer)
				if c.want == errLong.Error() || strings.HasPrefix(c.want, "it answers") {
					if kind, id, _, err := readHead(r, maxAsk); kind != frameLeave || id != 1 || err != nil {
						t.Error("the other side is not told: ", kind, id, err)
					}
				}
			})
			if err := l.ask(t.Context(), []byte("hi"), &whole{most: 5}); err == nil ||
				!strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			wg.Wait()
		})
	}
}

// A node that asks nonsense is hung up on, and what it asked before is called off.
func TestServeFrames_Nonsense(t *testing.T) {
	ask := func(id uint32) string { return string(head(nil, frameAsk, id, 6)) + "GET /\n" }
	many := ""
	for i := range maxAsks + 1 {
		many += ask(uint32(i))
	}
	for name, text := range map[string]string{
		"too long":          string(head(nil, frameAsk, 1, maxAsk+1)),
		"an answer":         string(head(nil, frameAnswer, 1, 0)),
		"one number twice":  ask(1) + ask(1),
		"too many":          many,
		"half a question":   ask(1) + ask(2)[:7],
		"not what is there": ask(1) + string(head(nil, frameLeave, 5, 0)) + string(head(nil, 0, 1, 0)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, there := net.Pipe()
			defer here.Close()
			s := &answering{
				upgrade: httptest.NewRequestWithContext(t.Context(), http.MethodGet, framesPath, nil),
				log:     slog.New(slog.DiscardHandler),
				handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
				out:     frameWriter{w: there},
				asks:    map[uint32]context.CancelFunc{},
				all:     &askers{},
			}
			go func() { _, _ = io.WriteString(here, text); here.Close() }()
			s.run(bufio.NewReader(there)) // returns
			s.wg.Wait()
			if len(s.asks) > 0 || len(s.all.nodes) > 0 {
				t.Errorf("%d questions are left, %d nodes are asking", len(s.asks), len(s.all.nodes))
			}
		})
	}
}

// A node that opens many connections asks no more than over one.
func TestServeFrames_ManyConnections(t *testing.T) {
	t.Parallel()
	var all askers
	var running, most atomic.Int64
	var wg sync.WaitGroup
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n := running.Add(1)
		defer running.Add(-1)
		for {
			had := most.Load()
			if n <= had || most.CompareAndSwap(had, n) {
				break
			}
		}
		<-r.Context().Done()
	})
	over := make(chan struct{}, 100)
	for range 10 {
		here, there := net.Pipe()
		s := &answering{
			upgrade: httptest.NewRequestWithContext(t.Context(), http.MethodGet, framesPath, nil),
			log:     slog.New(slog.DiscardHandler),
			handler: handler,
			out:     frameWriter{w: there},
			asks:    map[uint32]context.CancelFunc{},
			all:     &all,
			node:    "evil",
		}
		wg.Go(func() {
			s.run(bufio.NewReader(there))
			there.Close()
			over <- struct{}{}
			s.wg.Wait()
		})
		wg.Go(func() {
			for id := range uint32(maxAsks / 4) {
				if _, err := io.WriteString(here, string(head(nil, frameAsk, id, 6))+"GET /\n"); err != nil {
					return // hung up on
				}
			}
		})
		t.Cleanup(func() { here.Close() })
		defer here.Close()
	}
	select {
	case <-over: // one of them is hung up on
	case <-time.After(20 * time.Second):
		t.Error("nobody is hung up on")
	}
	if !all.enter("good") {
		t.Error("another node cannot ask")
	}
	if n := most.Load(); n > maxAsks {
		t.Errorf("%d questions at a time, want %d at most", n, maxAsks)
	}
	t.Cleanup(wg.Wait)
}

// Both ends of a connection notice that the other is gone.
func TestLinks_Watch(t *testing.T) {
	t.Parallel()
	conns := make(chan net.Conn, 1)
	manager := newSite(t, exchange.Options{}, func(srv *http.Server) {
		srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context { conns <- c; return ctx }
	})
	_, d := manager.put(2 << 20)
	dialled := make(chan net.Conn, 1)
	transport := manager.srv.Client().Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		dialled <- c
		return c, err
	}
	network := NewLinks(&http.Client{Transport: transport})
	defer network.Close()
	if _, err := network.Table(t.Context(), manager.addr, d); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"server": <-conns, "client": <-dialled} {
		raw, err := underneath(c).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) {
			got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
			idle, ierr := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
			if err := errors.Join(err, ierr); err != nil || time.Duration(got)*time.Millisecond != deadAfter ||
				idle != int(aliveIdle.Seconds()) {
				t.Errorf("%s: it ends after %d ms, and is tried after %d s, %v", name, got, idle, err)
			}
		})
	}
}

// A node that hangs up on everybody is not dialled for ever.
func TestLinks_HangsUp(t *testing.T) {
	t.Parallel()
	var upgrades atomic.Int32
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		upgrades.Add(1)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+
			framesProtocol+"\r\n\r\n"+string(head(nil, frameClose, 0, 0)))
	}))
	defer srv.Close()
	network := NewLinks(srv.Client())
	defer network.Close()
	if _, err := network.Table(t.Context(), srv.Listener.Addr().String(), digest.FromString("x")); err == nil {
		t.Error("a table of nobody")
	}
	if n := upgrades.Load(); n > 2 {
		t.Errorf("it was dialled %d times for one question", n)
	}
}

// Links end with their network, also those that are being made.
func TestLinks_Close(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	network := NewLinks(&http.Client{Transport: &http.Transport{}})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := network.Table(t.Context(), ln.Addr().String(), digest.FromString("x")); err == nil {
			t.Error("a table of nobody")
		}
	})
	conn, err := ln.Accept() // and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	network.Close()
	wg.Wait()
}
