package state_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// TestLog lists the last changes with what they changed, and each as it was.
func TestLog(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := state.Log(dir); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("where there is none: %v", err)
	}
	d := open(t, dir, state.Options{Author: "h1"})
	for n := range 3 {
		_, v, err := d.List("")
		if err != nil {
			t.Fatal(err)
		}
		changes := state.Contents{"a": []byte(fmt.Sprint(n)), fmt.Sprint("only-", n): []byte("x")}
		if n == 2 {
			changes["only-0"] = nil
		}
		if _, err := d.Commit(t.Context(), v, changes, fmt.Sprint("change ", n)); err != nil {
			t.Fatal(err)
		}
	}
	views, err := state.Log(dir)
	if err != nil || len(views) != 3 {
		t.Fatalf("%d changes, %v", len(views), err)
	}
	for i, want := range [][]string{{"a", "only-0", "only-2"}, {"a", "only-1"}, {"a", "only-0"}} {
		v := views[i]
		if !slices.Equal(v.Changed, want) || v.Commit.Message != fmt.Sprint("change ", 2-i) || v.Commit.Author != "h1" {
			t.Errorf("%d before the last: %v by %+v", i, v.Changed, v.Commit)
		}
		if data, err := v.Document("a"); err != nil || string(data) != fmt.Sprint(2-i) {
			t.Errorf("%d before the last it is %q, %v", i, data, err)
		}
	}
	// Of the oldest that is kept it is not known what it changed.
	for n := range 100 {
		_, v, _ := d.List("")
		if _, err := d.Commit(t.Context(), v, state.Contents{"a": []byte(fmt.Sprint("more", n))}, "more"); err != nil {
			t.Fatal(err)
		}
	}
	if views, err = state.Log(dir); err != nil || len(views) < 10 || views[len(views)-1].Changed != nil {
		t.Errorf("%d changes, the oldest of %v, %v", len(views), views[len(views)-1].Changed, err)
	}
}
