package history_test

import (
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

func TestNumbers(t *testing.T) {
	t.Parallel()
	store := statetest.Open(t, t.TempDir())
	n := history.NewNumbers(state.NewDocument(store, state.Numbers))
	next := func(want string, existing ...string) {
		t.Helper()
		if got, err := n.Next("spider", existing); err != nil || got != want {
			t.Errorf("after %q: got %s, %v; want %s", existing, got, err, want)
		}
	}
	next("0.01")
	for _, tag := range []string{"0.07", "0.03", "latest", "0.07-rc"} {
		if err := n.Note("spider", tag); err != nil {
			t.Fatal(err)
		}
	}
	next("0.08")
	next("0.08", "0.02")
	next("0.10", "0.09")
	n = history.NewNumbers(state.NewDocument(store, state.Numbers)) // after a restart
	next("0.08")
	if got, err := n.Next("other", nil); err != nil || got != "0.01" {
		t.Errorf("of another name: %s, %v", got, err)
	}
}
