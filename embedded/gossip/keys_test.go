package gossip

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, KeySize) }

// keysOf returns keys of one letter each.
func keysOf(letters string) (keys [][]byte) {
	for _, b := range []byte(letters) {
		keys = append(keys, key(b))
	}
	return keys
}

func TestSetKeys_HoldsJustThese(t *testing.T) {
	t.Parallel()
	for _, steps := range [][]string{
		{"o", "on", "no", "n", "n"},
		{"o", "n"},
		{"o", "nx", "x"},
		{"on", "ox", "xn"},
		{"abc", "dbc", "c", "abc", "bca", "ad"},
		{"a", "aa", "ab"},
	} {
		opts := newHost(t, "x").opts
		opts.Keys = keysOf(steps[0])
		g, err := New(opts, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var reader sync.WaitGroup
		reader.Go(func() { // as memberlist does
			for ctx.Err() == nil {
				for _, k := range g.ring.GetKeys() {
					_ = k[0]
				}
			}
		})
		for _, step := range steps {
			if err := g.SetKeys(keysOf(step)); err != nil {
				t.Fatalf("%q: %v", step, err)
			}
			have := slices.Clone(g.ring.GetKeys())
			want := keysOf(step)
			if !bytes.Equal(have[0], want[0]) {
				t.Errorf("%q of %q: encrypts with %c", step, steps, have[0][0])
			}
			slices.SortFunc(have, bytes.Compare)
			slices.SortFunc(want, bytes.Compare)
			want = slices.CompactFunc(want, bytes.Equal)
			if !slices.EqualFunc(have, want, bytes.Equal) {
				t.Errorf("%q of %q: holds %q", step, steps, have)
			}
		}
		stop()
		reader.Wait()
	}
}

func TestSetKeys_RefusesBadOnes(t *testing.T) {
	t.Parallel()
	g, err := New(newHost(t, "x").opts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][][]byte{nil, {}, {key('a')[:31]}, {key('a'), nil}} {
		if err := g.SetKeys(keys); err == nil {
			t.Errorf("%q were taken", keys)
		}
	}
	if have := g.ring.GetKeys(); len(have) != 1 || !bytes.Equal(have[0], testKey) {
		t.Error("a refused key changed something")
	}
}

// watch looks at who is alive, all the time, until stop, which reports when
// someone was not.
func watch(t *testing.T, hosts []*host) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, h := range hosts {
		group.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				for _, o := range hosts {
					if state := h.state(o); state != Alive {
						t.Errorf("%s saw %s as %q", h.opts.Self.Name, o.opts.Self.Name, state)
						return
					}
				}
				<-tick.C
			}
		})
	}
	return func() { cancel(); group.Wait() }
}

// hears waits until one node knows what another has just said.
func (h *host) hears(o *host, version string) {
	h.t.Helper()
	news := o.opts.Self
	news.Version = version
	if err := o.Update(news); err != nil {
		h.t.Fatal(err)
	}
	waitFor(h.t, 20*time.Second, func() error {
		if m, _ := h.member(o); m.Version != version {
			return fmt.Errorf("%s knows %+v", h.opts.Self.Name, m)
		}
		return nil
	})
}

func TestSetKeys_RotationWithoutAGap(t *testing.T) {
	t.Parallel()
	m := newHost(t, "manager")
	m.opts.Keys = keysOf("o")
	m.start()
	all := []*host{m}
	for _, name := range []string{"a", "b", "removed"} {
		w := newHost(t, name, m)
		w.opts.Keys = keysOf("o")
		w.start()
		all = append(all, w)
	}
	for _, h := range all {
		h.sees(Alive, all...)
	}
	hosts, removed := all[:3], all[3]
	stop := watch(t, hosts)
	for i, step := range []string{"on", "no", "n"} {
		for _, h := range hosts {
			if err := h.SetKeys(keysOf(step)); err != nil {
				t.Fatal(err)
			}
			m.hears(hosts[1], fmt.Sprint("1.", i, h.opts.Self.Name)) // between any two changes they talk
		}
	}
	for _, h := range hosts {
		h.sees(Failed, removed)
	}
	removed.sees(Failed, hosts...)
	for _, h := range hosts {
		h.Forget(removed.opts.Self.ID)
	}
	hosts[1].hears(m, "2.0")
	hosts[2].hears(hosts[1], "2.0")
	stop()
	for _, h := range hosts {
		if got, _ := removed.member(h); got.Version == "2.0" || got.State != Failed {
			t.Errorf("the removed node knows %+v", got)
		}
		if got, known := h.member(removed); known {
			t.Errorf("%s knows the removed node: %+v", h.opts.Self.Name, got)
		}
	}
	late := newHost(t, "late", m)
	late.opts.Keys = keysOf("n")
	late.start()
	late.sees(Alive, hosts...)
}

func TestSetKeys_BeforeAndAfterRun(t *testing.T) {
	t.Parallel()
	m := newHost(t, "manager")
	g, err := New(m.opts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SetKeys(keysOf("n")); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	<-g.Ready()
	w := newHost(t, "worker", m)
	w.opts.Keys = keysOf("n")
	w.start()
	w.sees(Alive, m)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := g.SetKeys(keysOf("x")); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// TestStranger_LearnsNothing attacks with memberlist itself.
func TestStranger_LearnsNothing(t *testing.T) {
	t.Parallel()
	m := startHost(t, "manager")
	w := startHost(t, "worker", m)
	m.sees(Alive, w)
	for name, wrong := range map[string][]byte{"no key": nil, "wrong key": key('x'), "a short key": key('x')[:16]} {
		attacker := attack(t, wrong)
		if n, err := attacker.Join([]string{m.LocalAddr().String()}); err == nil || n != 0 {
			t.Errorf("%s: joined %d, %v", name, n, err)
		}
		addr := net.UDPAddrFromAddrPort(m.LocalAddr())
		if _, err := attacker.Ping(m.opts.Self.ID, addr); err == nil {
			t.Errorf("%s: its ping was answered", name)
		}
		if list := attacker.Members(); len(list) != 1 {
			t.Errorf("%s: it knows %v", name, list)
		}
	}
	w.hears(m, "1.1") // after what strangers sent
	for _, h := range []*host{m, w} {
		if list := h.Members(); len(list) != 2 {
			t.Errorf("%s knows %v", h.opts.Self.Name, list)
		}
	}
}

// attack starts a memberlist that describes itself properly.
func attack(t *testing.T, key []byte) *memberlist.Memberlist {
	t.Helper()
	opts := newHost(t, "attacker").opts
	conf := memberlist.DefaultLocalConfig()
	conf.Name, conf.BindAddr, conf.BindPort = opts.Self.ID, opts.Addr.String(), testPort
	conf.AdvertiseAddr, conf.AdvertisePort = conf.BindAddr, testPort
	conf.TCPTimeout, conf.ProbeTimeout, conf.ProbeInterval = time.Second, 200*time.Millisecond, 400*time.Millisecond
	conf.SecretKey, conf.GossipVerifyOutgoing = key, key != nil
	conf.Logger = log.New(io.Discard, "", 0)
	meta, err := encodeMeta(opts.Self, 1)
	if err != nil {
		t.Fatal(err)
	}
	conf.Delegate = described{meta}
	list, err := memberlist.Create(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = list.Shutdown() })
	return list
}

// described is a delegate that has metadata and nothing else.
type described struct{ meta []byte }

func (d described) NodeMeta(int) []byte           { return d.meta }
func (described) NotifyMsg([]byte)                {}
func (described) GetBroadcasts(int, int) [][]byte { return nil }
func (described) LocalState(bool) []byte          { return nil }
func (described) MergeRemoteState([]byte, bool)   {}
