package state

import (
	"path/filepath"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/durable/disktest"
)

// TestBegin has an epoch begin once, with all that goes with it or nothing, and also where no document changes.
func TestBegin(t *testing.T) {
	disk := disktest.New(t, 32)
	opts := Options{Files: legacy(disk.Dir), Dirs: map[string]string{"dir/": filepath.Join(disk.Dir, "dir")}}
	d, err := Open(filepath.Join(disk.Dir, "state"), opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Begin(1, "recovered", nil); err == nil {
		t.Error("an epoch began of nothing")
	}
	if _, err := d.Commit(t.Context(), "", number(1), "first"); err != nil {
		t.Fatal(err)
	}
	steps := 0
	d.step = func(step string) {
		steps++
		cut := disk.Cut().Dir
		wantWhole(t, "power cut after "+step, cut, 1, 2)
		view, err := Look(filepath.Join(cut, "state"))
		data, _ := view.Document("a")
		if err != nil || (view.Commit.Epoch == 1) != (string(data) == "2") {
			t.Errorf("power cut after %s: epoch %d with %q, %v", step, view.Commit.Epoch, data, err)
		}
	}
	change := func(docs Contents) (Contents, error) {
		if string(docs["a"]) != "1" || len(docs) != 3 {
			t.Errorf("it is given %v", docs)
		}
		return number(2), nil
	}
	first, err := d.Begin(1, "recovered", change)
	if err != nil || steps == 0 || d.Epoch() != 1 {
		t.Fatalf("%v after %d steps, in epoch %d", err, steps, d.Epoch())
	}
	again, err := d.Begin(1, "recovered", func(Contents) (Contents, error) { t.Error("again"); return nil, nil })
	if err != nil || again != first {
		t.Errorf("again it is %s, was %s, %v", again, first, err)
	}
	d.step = func(string) {}
	same, err := d.Begin(2, "recovered", func(Contents) (Contents, error) { return nil, nil })
	if err != nil || same == first || d.Epoch() != 2 {
		t.Errorf("without a change: %v, epoch %d", err, d.Epoch())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(filepath.Join(disk.Dir, "state"), opts); err != nil || d.Epoch() != 2 {
		t.Fatalf("opened again: %v", err)
	}
	if v, err := d.Commit(t.Context(), same, number(3), "next"); err != nil || v == same || d.Epoch() != 2 {
		t.Errorf("the next commit: %v, epoch %d", err, d.Epoch())
	}
}
