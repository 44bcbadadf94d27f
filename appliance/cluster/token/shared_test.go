package token

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// openBusy opens the tokens twice on one state, where the other one is faster if the store says so.
func openBusy(t *testing.T) (tokens, other *Store, busy *statetest.Busy) {
	t.Helper()
	disk := statetest.Open(t, t.TempDir())
	busy = &statetest.Busy{Store: disk}
	other, err := Open(disk)
	if err == nil {
		tokens, err = Open(busy)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tokens, other, busy
}

// TestStore_Shared has two managers change tokens, and the other one be faster.
func TestStore_Shared(t *testing.T) {
	t.Parallel()
	tokens, other, busy := openBusy(t)
	busy.Other = func() error {
		_, err := other.Issue(fleet.RoleWorker, 0, 0)
		return err
	}
	busy.Times(2)
	c := issue(t, tokens, fleet.RoleWorker, 0, 1)
	if len(tokens.List()) != 3 || len(other.List()) != 3 {
		t.Errorf("%v; the other has %v", tokens.List(), other.List())
	}
	busy.Other = func() error { return other.Redeem(c.ID, c.Secret, c.Role, "other") }
	busy.Times(1)
	if err := tokens.Redeem(c.ID, c.Secret, c.Role, "a"); !errors.Is(err, ErrUsedUp) {
		t.Errorf("used up in between: %v", err)
	}
	c = issue(t, tokens, fleet.RoleWorker, 0, 1)
	busy.Other = func() error { return other.Revoke(c.ID) }
	busy.Times(1)
	if err := tokens.Redeem(c.ID, c.Secret, c.Role, "a"); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked in between: %v", err)
	}
	var first Issued
	busy.Other = func() (err error) {
		first, err = other.Standing(fleet.RoleWorker)
		return err
	}
	busy.Times(1)
	if second, err := tokens.Standing(fleet.RoleWorker); err != nil || second != first {
		t.Errorf("two tokens stand, %v and %v, %v", first, second, err)
	}
}

// TestRedeem_Shared wants a token to let in as many as it may, whoever is asked.
func TestRedeem_Shared(t *testing.T) {
	t.Parallel()
	tokens, other, _ := openBusy(t)
	c := issue(t, tokens, fleet.RoleWorker, 0, 15)
	var in atomic.Int32
	var all sync.WaitGroup
	for i := range 20 {
		for _, s := range []*Store{tokens, other} {
			all.Go(func() {
				switch err := s.Redeem(c.ID, c.Secret, c.Role, fmt.Sprintf("%p-%d", s, i)); {
				case err == nil:
					in.Add(1)
				case !errors.Is(err, ErrUsedUp):
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	if in.Load() != 15 || usesOnDisk(t, other, c.ID) != 15 {
		t.Errorf("let in %d; %d uses are on disk", in.Load(), usesOnDisk(t, other, c.ID))
	}
}
