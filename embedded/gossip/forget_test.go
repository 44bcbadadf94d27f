package gossip

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/hashicorp/memberlist"
)

func TestForget_StaysOutWhileOthersKnowIt(t *testing.T) {
	t.Parallel()
	m := startHost(t, "manager")
	w, other := startHost(t, "worker", m), startHost(t, "other", m)
	m.sees(Alive, w, other)
	m.Forget(w.opts.Self.ID)
	m.Forget(w.opts.Self.ID)
	m.Forget(m.opts.Self.ID)
	unknown := func(when string) {
		t.Helper()
		if got, known := m.member(w); known {
			t.Errorf("%s: manager knows %+v", when, got)
		}
	}
	unknown("at once")
	other.hears(w, "2.0") // which passed it on
	m.hears(other, "2.0")
	unknown("after its news")
	w.kill()
	w.start()
	w.sees(Alive, other)
	m.hears(other, "3.0")
	unknown("after its restart")
	m.sees(Alive, m, other)
}

func TestRoster_ForgetsBoundedly(t *testing.T) {
	t.Parallel()
	r := newRoster("self", 1, anywhere, slog.New(slog.DiscardHandler))
	for i := range maxForgotten + 10 {
		r.forget(fmt.Sprint("id-", i))
	}
	if n := len(r.forgotten); n != maxForgotten {
		t.Errorf("%d nodes are kept out", n)
	}
	last := fmt.Sprint("id-", maxForgotten+9)
	meta, err := encodeMeta(Node{ID: last}, 1)
	if err != nil {
		t.Fatal(err)
	}
	n := &memberlist.Node{Name: last, Meta: meta}
	if err := r.NotifyAlive(n); err == nil {
		t.Error("memberlist may take in a node that was removed")
	}
	r.NotifyJoin(n)
	if list := r.members(); len(list) != 0 {
		t.Errorf("members are %v", list)
	}
}
