package guard

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen guards a listener on all of 127.0.0.0/8 that is closed with the test.
func listen(t testing.TB, limits Limits) *Listener {
	t.Helper()
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(ln, limits)
	t.Cleanup(func() { l.Close() })
	return l
}

// dial connects from one address of this machine.
func dial(t testing.TB, l *Listener, from string) net.Conn {
	t.Helper()
	c, err := tryDial(t, l, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// tryDial is dial for other goroutines than the test's.
func tryDial(t testing.TB, l *Listener, from string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	to := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.Addr().(*net.TCPAddr).Port}
	return d.DialContext(t.Context(), "tcp4", to.String())
}

// connect returns both ends of an accepted connection.
func connect(t testing.TB, l *Listener, from string) (client, server net.Conn) {
	t.Helper()
	client = dial(t, l, from)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// wantClosed reads until the other end closes, which must happen soon.
func wantClosed(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := c.Read(make([]byte, 1))
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the connection is not closed: %v", err)
	}
}

// wantOpen sends a byte through the connection.
func wantOpen(t *testing.T, client, server net.Conn) {
	t.Helper()
	if _, err := server.Write([]byte("x")); err != nil {
		t.Fatalf("the connection is closed: %v", err)
	}
	client.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the connection is closed: %v", err)
	}
}

// wantBooks checks what the Listener believes that it holds.
func wantBooks(t *testing.T, l *Listener, strangers, groups, admitted int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	known := 0
	for _, conns := range l.admitted {
		known += conns.Len()
	}
	if l.strangers.n != strangers || len(l.strangers.groups) != groups || known != admitted {
		t.Errorf("books hold %d strangers of %d groups and %d admitted, want %d, %d and %d",
			l.strangers.n, len(l.strangers.groups), known, strangers, groups, admitted)
	}
}

func TestListener_OldestOfAFullAddressGivesWay(t *testing.T) {
	t.Parallel()
	l := listen(t, Limits{PerAddr: 2})
	other, otherServer := connect(t, l, "127.0.0.2")
	first, _ := connect(t, l, "127.0.0.1")
	second, secondServer := connect(t, l, "127.0.0.1")
	third, thirdServer := connect(t, l, "127.0.0.1")
	wantClosed(t, first)
	wantOpen(t, second, secondServer)
	wantOpen(t, third, thirdServer)
	wantOpen(t, other, otherServer)
	wantBooks(t, l, 3, 2, 0)
}

func TestListener_FullHouseIsAtTheCostOfTheLargest(t *testing.T) {
	t.Parallel()
	l := listen(t, Limits{Strangers: 4})
	small, smallServer := connect(t, l, "127.0.0.2")
	first, _ := connect(t, l, "127.0.0.1")
	second, _ := connect(t, l, "127.0.0.1")
	third, thirdServer := connect(t, l, "127.0.0.1")
	connect(t, l, "127.0.0.3")
	wantClosed(t, first)
	connect(t, l, "127.0.0.4")
	wantClosed(t, second)
	wantOpen(t, third, thirdServer)
	wantOpen(t, small, smallServer)
	// Each has one place now: the one that has held it longest gives way.
	connect(t, l, "127.0.0.5")
	wantClosed(t, small)
	wantBooks(t, l, 4, 4, 0)
}

func TestListener_AdmittedTakeNoPlace(t *testing.T) {
	t.Parallel()
	l := listen(t, Limits{Strangers: 2, PerAddr: 1})
	node, nodeServer := connect(t, l, "127.0.0.1")
	Admit(nodeServer, "node-a")
	for range 5 {
		connect(t, l, "127.0.0.1")
	}
	wantOpen(t, node, nodeServer)
	wantBooks(t, l, 1, 1, 1)
}

func TestListener_PartyGivesWayToItself(t *testing.T) {
	t.Parallel()
	l := listen(t, Limits{PerParty: 2})
	other, otherServer := connect(t, l, "127.0.0.1")
	Admit(otherServer, "other")
	var clients, servers []net.Conn
	for range 4 {
		c, s := connect(t, l, "127.0.0.1")
		Admit(s, "node")
		Admit(s, "node") // as each request does
		clients, servers = append(clients, c), append(servers, s)
	}
	wantClosed(t, clients[0])
	wantClosed(t, clients[1])
	wantOpen(t, clients[2], servers[2])
	wantOpen(t, clients[3], servers[3])
	wantOpen(t, other, otherServer)
	wantBooks(t, l, 0, 0, 3)
	Admit(servers[3], "other") // it proves another name
	wantBooks(t, l, 0, 0, 3)
	l.Drop("node")
	wantClosed(t, clients[2])
	wantBooks(t, l, 0, 0, 2)
}

func TestListener_Drop(t *testing.T) {
	t.Parallel()
	l := listen(t, Limits{})
	one, oneServer := connect(t, l, "127.0.0.1")
	two, twoServer := connect(t, l, "127.0.0.2")
	other, otherServer := connect(t, l, "127.0.0.1")
	stranger, strangerServer := connect(t, l, "127.0.0.1")
	Admit(oneServer, "node-a")
	Admit(twoServer, "node-b")
	Admit(twoServer, "node-a") // it became another
	Admit(otherServer, "node-b")
	l.Drop("node-a")
	l.Drop("nobody")
	wantClosed(t, one)
	wantClosed(t, two)
	wantOpen(t, other, otherServer)
	wantOpen(t, stranger, strangerServer)
	wantBooks(t, l, 1, 1, 1)
}

func TestConn_LeavesTheBooksOnce(t *testing.T) {
	t.Parallel()
	l := listen(t, Limits{})
	_, stays := connect(t, l, "127.0.0.1")
	_, stranger := connect(t, l, "127.0.0.1")
	_, node := connect(t, l, "127.0.0.1")
	Admit(node, "node-a")
	Admit(node, "node-a")
	wantBooks(t, l, 2, 1, 1)
	for range 2 {
		stranger.Close()
		node.Close()
	}
	Admit(stranger, "late")
	Admit(node, "late")
	wantBooks(t, l, 1, 1, 0)
	stays.Close()
	wantBooks(t, l, 0, 0, 0)
}

func TestListener_Patience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pipes := make(pipeListener, 2)
		l := New(pipes, Limits{Patience: time.Minute})
		stranger, node := pipes.accept(t, l), pipes.accept(t, l)
		Admit(node.server, "node-a")
		start := time.Now()
		stranger.trickle(time.Second)
		if got := time.Since(start); got < time.Minute || got > time.Minute+time.Second {
			t.Errorf("a stranger that trickles was cut off after %v, want a minute", got)
		}
		time.Sleep(time.Hour)
		go node.server.Write([]byte("x"))
		if _, err := node.client.Read(make([]byte, 1)); err != nil {
			t.Errorf("an admitted connection was closed: %v", err)
		}
		node.server.Close()
		node.client.Close()
		wantBooks(t, l, 0, 0, 0)
	})
}

// pipeListener accepts ends of net.Pipe, which synctest can follow.
type pipeListener chan net.Conn

func (p pipeListener) Accept() (net.Conn, error) { return <-p, nil }
func (p pipeListener) Close() error              { return nil }
func (p pipeListener) Addr() net.Addr            { return &net.TCPAddr{} }

type pipe struct{ client, server net.Conn }

func (p pipeListener) accept(t *testing.T, l *Listener) pipe {
	client, server := net.Pipe()
	p <- server
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return pipe{client, c}
}

// trickle sends a byte every now and then, to a server that reads them all,
// until it is cut off.
func (p pipe) trickle(every time.Duration) {
	go io.Copy(io.Discard, p.server)
	for {
		if _, err := p.client.Write([]byte("x")); err != nil {
			return
		}
		time.Sleep(every)
	}
}

// noFiles fails as a listener does whose process has no file descriptor left.
type noFiles struct{ net.Listener }

func (noFiles) Accept() (net.Conn, error) {
	return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
}

func TestListener_PassesErrorsOn(t *testing.T) {
	t.Parallel()
	_, err := New(noFiles{}, Limits{}).Accept()
	var ne net.Error
	if !errors.Is(err, syscall.EMFILE) || !errors.As(err, &ne) {
		t.Errorf("got %v, want EMFILE as it came", err)
	}
	l := listen(t, Limits{})
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v from a closed listener", err)
	}
}

func TestGroupOf(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.7":        "192.0.2.7/32",
		"::ffff:192.0.2.7": "192.0.2.7/32",
		"2001:db8:1:2::7":  "2001:db8:1:2::/64",
		"fe80::1%lo":       "fe80::/64",
		"::1":              "::/64",
	} {
		ip, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(addr, "1"))
		if err != nil {
			t.Fatal(err)
		}
		if got := groupOf(ip).String(); got != want {
			t.Errorf("%s is in group %s, want %s", addr, got, want)
		}
	}
	if got := groupOf(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("a unix socket is in group %s", got)
	}
}
