package authority

import (
	"errors"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// TestAccounts_Shared has two managers change accounts, and the other one be faster.
func TestAccounts_Shared(t *testing.T) {
	t.Parallel()
	disk := statetest.Open(t, t.TempDir())
	busy := &statetest.Busy{Store: disk}
	other, err := access.OpenAccounts(state.NewDocument(disk, state.Accounts))
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := access.OpenAccounts(state.NewDocument(busy, state.Accounts))
	if err != nil {
		t.Fatal(err)
	}
	busy.Other = func() error {
		_, err := other.Issue("other")
		return err
	}
	busy.Times(1)
	if _, err := accounts.Issue("ci"); err != nil {
		t.Fatal(err)
	}
	if len(accounts.List()) != 2 || len(other.List()) != 2 {
		t.Errorf("%v; the other has %v", accounts.List(), other.List())
	}
	busy.Other = func() error { return other.Remove("ci") }
	busy.Times(1)
	if err := accounts.Remove("ci"); !errors.Is(err, access.ErrUnknownAccount) {
		t.Errorf("removed in between: %v", err)
	}
	if err := other.Remove("other"); err != nil || len(accounts.List()) != 0 {
		t.Errorf("%v; it does not follow: %v", err, accounts.List())
	}
}
