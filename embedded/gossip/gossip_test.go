package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Hosts of the tests are loopback addresses, one for each node.
const testPort = 17981

var (
	testAddr = netip.MustParseAddr("127.0.0.1")
	testKey  = bytes.Repeat([]byte{7}, KeySize)
	nextHost atomic.Uint32
)

// host is one node under test. It can be started again after a stop or a kill.
type host struct {
	*Gossip
	t    *testing.T
	opts Options
	cut  *atomic.Bool // the cable

	patience time.Duration // with one stream

	stop context.CancelFunc
	done chan struct{}
}

func newHost(t *testing.T, name string, seeds ...*host) *host {
	t.Helper()
	n := nextHost.Add(1)
	h := &host{
		t:        t,
		patience: 500 * time.Millisecond,
		opts: Options{
			Addr: netip.AddrFrom4([4]byte{127, 0, byte(20 + n>>8), byte(n)}),
			Port: testPort,
			Keys: [][]byte{testKey},
			Self: Node{
				ID:       fmt.Sprintf("id-%d", n),
				Name:     name,
				Role:     "worker",
				Version:  "1.0",
				Docker:   "running",
				FreeDisk: 1 << 40,
			},
			Seeds: func() (addrs []netip.AddrPort) {
				for _, s := range seeds {
					addrs = append(addrs, netip.AddrPortFrom(s.opts.Addr, testPort))
				}
				return addrs
			},
			retryMin: 20 * time.Millisecond,
			retryMax: 200 * time.Millisecond,
		},
	}
	return h
}

func startHost(t *testing.T, name string, seeds ...*host) *host {
	t.Helper()
	h := newHost(t, name, seeds...)
	h.start()
	return h
}

func (h *host) start() {
	h.t.Helper()
	cut := &atomic.Bool{}
	cables.Store(h.opts.Addr, cut)
	h.opts.tune = func(c *memberlist.Config) {
		c.ProbeInterval, c.ProbeTimeout = 100*time.Millisecond, 50*time.Millisecond
		c.GossipInterval, c.PushPullInterval = 20*time.Millisecond, time.Second
		c.GossipToTheDeadTime = 300 * time.Millisecond
		c.SuspicionMult, c.SuspicionMaxTimeoutMult = 2, 1
		c.TCPTimeout, c.DeadNodeReclaimTime = h.patience, time.Millisecond
		c.Transport = &cable{NodeAwareTransport: c.Transport.(memberlist.NodeAwareTransport), cut: cut}
	}
	g, err := New(h.opts, slog.New(slog.NewTextHandler(testWriter{h.t, h.opts.Self.Name}, nil)))
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := g.Run(ctx); err != nil {
			h.t.Errorf("run %s: %v", h.opts.Self.Name, err)
		}
	}()
	h.Gossip, h.cut, h.stop, h.done = g, cut, stop, done
	h.t.Cleanup(func() { stop(); <-done })
	select {
	case <-g.Ready():
	case <-done:
		h.t.Fatal("gossip ended before it was ready")
	}
}

// leave stops the node as a signal would.
func (h *host) leave() { h.stop(); <-h.done }

// kill stops it without a word to the others.
func (h *host) kill() { h.cut.Store(true); h.leave() }

// sees waits until the host knows the others in the state given.
func (h *host) sees(state State, others ...*host) {
	h.t.Helper()
	waitFor(h.t, 20*time.Second, func() error {
		for _, o := range others {
			if got := h.state(o); got != state {
				return fmt.Errorf("%s sees %s as %q, want %q", h.opts.Self.Name, o.opts.Self.Name, got, state)
			}
		}
		return nil
	})
}

func (h *host) member(o *host) (Member, bool) {
	list := h.Members()
	i := slices.IndexFunc(list, func(m Member) bool { return m.ID == o.opts.Self.ID })
	if i < 0 {
		return Member{}, false
	}
	return list[i], true
}

func (h *host) state(o *host) State {
	m, _ := h.member(o)
	return m.State
}

// cables holds the *atomic.Bool of each host that runs, by its address.
var cables sync.Map

// cable drops what a host sends, and what is sent to a host, while it is cut.
type cable struct {
	memberlist.NodeAwareTransport
	cut *atomic.Bool
}

func (c *cable) isCut(to string) bool {
	other, ok := cables.Load(netip.MustParseAddrPort(to).Addr())
	return c.cut.Load() || ok && other.(*atomic.Bool).Load()
}

func (c *cable) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if c.isCut(a.Addr) {
		return time.Now(), nil
	}
	return c.NodeAwareTransport.WriteToAddress(b, a)
}

func (c *cable) DialAddressTimeout(a memberlist.Address, d time.Duration) (net.Conn, error) {
	if c.isCut(a.Addr) {
		return nil, fmt.Errorf("dial %s: cable is cut", a.Addr)
	}
	return c.NodeAwareTransport.DialAddressTimeout(a, d)
}

type testWriter struct {
	t    *testing.T
	name string
}

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s: %s", w.name, bytes.TrimSpace(p))
	return len(p), nil
}

// waitFor tries until it works, and reports the last error when it never does.
func waitFor(t *testing.T, limit time.Duration, try func() error) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("not within %s: %v", limit, err)
		case <-tick.C:
		}
	}
}

func TestGossip_EveryNodeKnowsEveryOther(t *testing.T) {
	t.Parallel()
	m := startHost(t, "manager")
	hosts := []*host{m}
	for range 4 {
		hosts = append(hosts, startHost(t, "same-name", m)) // host names need not differ
	}
	for _, h := range hosts {
		h.sees(Alive, hosts...)
	}
	got, _ := hosts[1].member(m)
	want := m.opts.Self
	want.Addr = m.opts.Addr
	if got.Node != want {
		t.Errorf("worker knows manager as %+v, want %+v", got.Node, want)
	}
}

func TestGossip_UpdateReachesOthers(t *testing.T) {
	t.Parallel()
	m := startHost(t, "manager")
	w := startHost(t, "worker", m)
	m.sees(Alive, w)

	news := w.opts.Self
	news.Docker, news.FreeDisk, news.ID = "stopped", 1<<30, "cannot change"
	if err := w.Update(news); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 10*time.Second, func() error {
		got, _ := m.member(w)
		if got.Docker != "stopped" || got.FreeDisk != 1<<30 {
			return fmt.Errorf("manager knows %+v", got)
		}
		return nil
	})
	news.Name = strings.Repeat("x", 65)
	if err := w.Update(news); err == nil {
		t.Error("update with a name too long was taken")
	}
}

func TestGossip_LeaveIsToldFromFailure(t *testing.T) {
	t.Parallel()
	m := startHost(t, "manager")
	leaver, failer := startHost(t, "leaver", m), startHost(t, "failer", m)
	late := startHost(t, "bystander", m)
	late.sees(Alive, m, leaver, failer)

	leaver.leave()
	failer.kill()
	for _, h := range []*host{m, late} {
		h.sees(Left, leaver)
		h.sees(Failed, failer)
	}
	// Both are remembered after memberlist itself has forgotten them.
	waitFor(t, 10*time.Second, func() error {
		if got, ok := m.member(failer); !ok || time.Since(got.Seen) < 600*time.Millisecond {
			return fmt.Errorf("failed member seen at %s, known %v", got.Seen, ok)
		}
		return nil
	})
	m.sees(Left, leaver)
	m.sees(Failed, failer)
}

func TestGossip_KilledNodeComesBack(t *testing.T) {
	t.Parallel()
	m := startHost(t, "manager")
	w := startHost(t, "worker", m)
	m.sees(Alive, w)
	w.kill()
	m.sees(Failed, w)
	w.start()
	m.sees(Alive, w)
	w.sees(Alive, m)
}

func TestGossip_NodeComesBackWithAnotherAddress(t *testing.T) {
	t.Parallel()
	m := startHost(t, "manager")
	w := startHost(t, "worker", m)
	m.sees(Alive, w)
	w.kill()
	m.sees(Failed, w)
	w.opts.Addr = newHost(t, "unused").opts.Addr
	w.start()
	m.sees(Alive, w)
	if got, _ := m.member(w); got.Addr != w.opts.Addr {
		t.Errorf("manager knows it at %s, want %s", got.Addr, w.opts.Addr)
	}
}

func TestGossip_ManagerLearnsFromWorkersAgain(t *testing.T) {
	t.Parallel()
	m := startHost(t, "manager") // without seeds of its own
	a, b := startHost(t, "a", m), startHost(t, "b", m)
	m.sees(Alive, a, b)
	for _, end := range []struct {
		stop func()
		want State
	}{{m.kill, Failed}, {m.leave, Left}} {
		end.stop()
		a.sees(end.want, m)
		m.start()
		m.sees(Alive, a, b)
		a.sees(Alive, m, b)
	}
}

func TestGossip_SplitNetworkHeals(t *testing.T) {
	t.Parallel()
	m := startHost(t, "manager")
	a, b := startHost(t, "a", m), startHost(t, "b", m)
	m.sees(Alive, a, b)
	a.cut.Store(true)
	m.sees(Failed, a)
	a.sees(Failed, m)
	b.sees(Failed, a)
	a.cut.Store(false)
	for _, h := range []*host{m, a, b} {
		h.sees(Alive, m, a, b)
	}
}

func TestGossip_WrongKeyStaysOut(t *testing.T) {
	t.Parallel()
	m := startHost(t, "manager")
	stranger := newHost(t, "stranger", m)
	stranger.opts.Keys = [][]byte{bytes.Repeat([]byte{8}, KeySize)}
	var tries atomic.Int32
	seeds := stranger.opts.Seeds
	stranger.opts.Seeds = func() []netip.AddrPort { tries.Add(1); return seeds() }
	stranger.start()
	friend := startHost(t, "friend", m)
	m.sees(Alive, friend)
	waitFor(t, 20*time.Second, func() error {
		if n := tries.Load(); n < 5 {
			return fmt.Errorf("stranger tried %d times", n)
		}
		return nil
	})
	if len(m.Members()) != 2 || len(stranger.Members()) != 1 {
		t.Errorf("manager knows %v, stranger knows %v", m.Members(), stranger.Members())
	}
}

func TestGossip_SeedWithAnotherAddressIsDialledOnce(t *testing.T) {
	t.Parallel()
	outside := netip.MustParseAddrPort("192.0.2.1:7981")
	opts := newHost(t, "worker").opts
	opts.Seeds = func() []netip.AddrPort { return []netip.AddrPort{outside, outside} }
	w, err := New(opts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, tt := range map[string]struct {
		answered map[netip.AddrPort]time.Time
		want     int
	}{
		"never answered":   {nil, 1},
		"just answered":    {map[netip.AddrPort]time.Time{outside: now}, 0},
		"answered earlier": {map[netip.AddrPort]time.Time{outside: now.Add(-aliasPause)}, 1},
	} {
		if got := w.missingSeeds(tt.answered); len(got) != tt.want {
			t.Errorf("%s: dials %v", name, got)
		}
	}
}

func TestGossip_ListensOnItsAddressOnly(t *testing.T) {
	t.Parallel()
	h := newHost(t, "one")
	h.opts.Port = 0
	h.start()
	local := h.LocalAddr()
	if local.Addr() != h.opts.Addr || local.Port() == 0 {
		t.Fatalf("listens on %s, want %s and a port", local, h.opts.Addr)
	}
	other := net.JoinHostPort("127.0.0.1", fmt.Sprint(local.Port()))
	if conn, err := net.DialTimeout("tcp", other, time.Second); err == nil {
		conn.Close()
		t.Errorf("answers on %s too", other)
	}
}

func TestGossip_PortInUse(t *testing.T) {
	t.Parallel()
	h := startHost(t, "first")
	g, err := New(h.opts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = g.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), h.LocalAddr().String()) {
		t.Errorf("error %v does not name %s", err, h.LocalAddr())
	}
}

func TestNew_RefusesBadOptions(t *testing.T) {
	t.Parallel()
	good := newHost(t, "x").opts
	for name, spoil := range map[string]func(*Options){
		"no key":      func(o *Options) { o.Keys = nil },
		"short key":   func(o *Options) { o.Keys = [][]byte{testKey, testKey[:16]} },
		"any address": func(o *Options) { o.Addr = netip.IPv4Unspecified() },
		"no address":  func(o *Options) { o.Addr = netip.Addr{} },
		"no ID":       func(o *Options) { o.Self.ID = "" },
		"odd name":    func(o *Options) { o.Self.Name = "a\x1b[2J" },
	} {
		opts := good
		spoil(&opts)
		if _, err := New(opts, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
