package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// TestRenew_InALoop: a node that renews without end has the CA sign no more than it
// needs, and takes nothing from the others.
func TestRenew_InALoop(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	evil := joined(t, m, fleet.RoleWorker, pki.Self{Name: "evil", Addr: worker.Addr, Version: "1"})
	good := joined(t, m, fleet.RoleWorker, worker)
	renewed := 0
	for n := range 3 * signBurst {
		var err error
		if n%2 == 0 {
			err = Renew(t.Context(), evil)
		} else {
			err = RenewSwarmToken(t.Context(), evil)
		}
		if err == nil {
			renewed++
		} else if !errors.Is(err, ErrTooOften) {
			t.Fatal(err)
		}
	}
	if renewed > signBurst {
		t.Errorf("it renewed %d times, want %d at most", renewed, signBurst)
	}
	if err := Renew(t.Context(), good); err != nil {
		t.Errorf("another node: %v", err)
	}
}

// TestJoin_InALoop: a join token used with one key again and again gives no more
// certificates than renewals do.
func TestJoin_InALoop(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	body := requestWith(t, func(*joinRequest) {})
	codes := map[int]int{}
	for range 3 * signBurst {
		codes[postTo(handlerOf(s), pathJoin, body).Code]++
	}
	if codes[http.StatusOK] > signBurst || codes[http.StatusTooManyRequests] == 0 {
		t.Errorf("answers: %v", codes)
	}
}

// TestFollow_InALoop: a node that asks for news and never takes them waits.
func TestFollow_InALoop(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, id := range []string{"evil", "good"} {
		if err := s.Members.Put(member.Member{
			ID:    id,
			Role:  fleet.RoleWorker,
			Until: time.Now().Add(time.Hour),
		}); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		body, err := json.Marshal(followRequest{Version: wireVersion})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(id string) {
			ctx, cancel := context.WithTimeout(
				context.WithValue(t.Context(), peerKey{}, pki.NodeInfo{ID: id, Role: fleet.RoleWorker}),
				requestTimeout+followHold)
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, pathFollow, nil)
			if _, err := s.follow(r, body); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		for range 3 * askBurst {
			ask("evil")
		}
		if took := time.Since(begun); took < 2*askBurst*askEvery-time.Second {
			t.Errorf("%d answers in %s", 3*askBurst, took)
		}
		begun = time.Now()
		if ask("good"); time.Since(begun) != 0 {
			t.Errorf("another node waited %s", time.Since(begun))
		}
	})
}

// TestServer_RemembersLittle: what the manager remembers of strangers and nodes does not
// grow with their number.
func TestServer_RemembersLittle(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for n := range 3 * member.Max {
		id := fmt.Sprint(n)
		s.signs.Allow(id)
		s.asks.Allow(id)
	}
	for n := range 2 * limitAddrs {
		r := httptest.NewRequest(http.MethodPost, pathJoin, strings.NewReader("{}"))
		r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:9", n>>16&255, n>>8&255, n&255)
		handlerOf(s).ServeHTTP(httptest.NewRecorder(), r)
	}
	if s.signs.Len() > member.Max || s.asks.Len() > member.Max || s.tries.failures.Len() > limitAddrs {
		t.Errorf("%d, %d and %d are remembered", s.signs.Len(), s.asks.Len(), s.tries.failures.Len())
	}
}

// TestArrange wants managers to be asked in the order in which they were, new ones last, and none that is no longer one
// of them.
func TestArrange(t *testing.T) {
	t.Parallel()
	at := func(list ...byte) (all []netip.AddrPort) {
		for _, n := range list {
			all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 7980))
		}
		return all
	}
	for _, tc := range []struct{ order, managers, want []netip.AddrPort }{
		{nil, at(1, 2, 3), at(1, 2, 3)},
		{at(2, 3, 1), at(1, 2, 3), at(2, 3, 1)},
		{at(3, 1), at(1, 2, 3), at(3, 1, 2)},
		{at(4, 2, 1), at(1, 2), at(2, 1)},
		{at(1), nil, nil},
	} {
		if got := arrange(tc.order, tc.managers); !slices.Equal(got, tc.want) {
			t.Errorf("after %v %v are asked as %v", tc.order, tc.managers, got)
		}
	}
}
