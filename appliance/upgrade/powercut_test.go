package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/durable/disktest"
)

// TestNode_HandsOverWhatStays wants all to be on the disk when the keeper is started:
// it begins to replace the program, on what may be another disk.
func TestNode_HandsOverWhatStays(t *testing.T) {
	t.Parallel()
	path := copyOfSelf(t, "good", func([]byte) {})
	offer, err := Inspect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	d := disktest.New(t, 128)
	var after Directory
	n := (&Node{
		Directory: In(d.Dir), Version: "1", Log: slog.New(slog.DiscardHandler),
		Keep:  func(context.Context) error { after = In(d.Cut().Dir); return nil },
		Fetch: func(context.Context, Offer) (io.ReadCloser, error) { return os.Open(path) },
	}).Init()
	if err := n.stage(t.Context(), offer); err != nil {
		t.Fatal(err)
	}
	j, err := after.Journal()
	if err != nil || j.Phase != Staged {
		t.Fatalf("after a power cut the journal is %+v, %v", j, err)
	}
	for path, want := range map[string]Offer{after.Keeper(): j.From, after.staged(): j.To} {
		if sum, _, err := Sum(path); err != nil || sum != want.SHA256 {
			t.Errorf("%s is not what the journal says (%v)", path, err)
		}
	}
}

// TestKeeper_LosesWhatWasNotSynced cuts the power at each call of the keeper, and when
// it is done. State and program lie on two disks, of which each may or may not have
// written by itself what nobody has synced.
func TestKeeper_LosesWhatWasNotSynced(t *testing.T) {
	t.Parallel()
	for _, program := range []string{good, bad} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			for cut, done := 1, false; !done; cut++ {
				s, state, bin := newSiteOnDisks(t, program)
				done = s.keep(cut) == nil
				states, bins := after(state), after(bin)
				for i, state := range states {
					for j, bin := range bins {
						s.boots(fmt.Sprintf("cut at call %d, state synced %v, program %v", cut, i == 1, j == 1),
							state.Cut(), bin.Cut())
					}
				}
			}
		})
	}
}

// TestKeeper_GoesBackOnAFullDisk wants the old program back where there is no room for
// it: that the disk is full may be why the new one does not start.
func TestKeeper_GoesBackOnAFullDisk(t *testing.T) {
	t.Parallel()
	s, _, bin := newSiteOnDisks(t, bad)
	s.started = func() {
		full := func(bytes int) bool {
			for i := range 10_000 {
				path := filepath.Join(bin.Dir, fmt.Sprintf("log%d.%d", bytes, i))
				if err := os.WriteFile(path, make([]byte, bytes), 0o600); err != nil {
					return errors.Is(err, syscall.ENOSPC)
				}
			}
			return false
		}
		if !full(1<<20) || !full(1) {
			t.Error("the disk is not full")
		}
	}
	if err := s.keep(0); err != nil {
		t.Fatal(err)
	}
	s.ends(Returned, old)
}

// newSiteOnDisks is a node to which a program was handed, which is on the disks.
func newSiteOnDisks(t *testing.T, program string) (s *site, state, bin *disktest.Disk) {
	t.Helper()
	state, bin = disktest.New(t, 8), disktest.New(t, 8)
	s = newSiteIn(t, state.Dir, bin.Dir, program)
	state.Sync()
	bin.Sync()
	return s, state, bin
}

// after returns the disks that a power cut may leave.
func after(d *disktest.Disk) [2]*disktest.Disk {
	forgetful := d.Cut()
	d.Sync()
	return [2]*disktest.Disk{forgetful, d.Cut()}
}

// boots starts a machine with what a power cut has left: the program that is there,
// and the keeper if there is one. It must end as the journal says.
func (s *site) boots(when string, state, bin *disktest.Disk) {
	s.Helper()
	a := &site{T: s.T, dir: bin.Dir, directory: In(state.Dir), exe: s.exe}
	a.running = a.text(a.program())
	if a.running != old && a.running != good && a.running != bad {
		s.Fatalf("%s: the program is %q", when, a.running)
	}
	if j, err := a.directory.Journal(); err != nil {
		s.Fatal(err)
	} else if j.Program != "" {
		j.Program = a.program() // which has another name here
		a.journal(j)
	}
	if _, err := os.Stat(a.directory.Keeper()); err == nil {
		if text := a.text(a.directory.Keeper()); text != old {
			s.Errorf("%s: the keeper is %q", when, text)
		}
		if err := a.keep(0); err != nil {
			s.Errorf("%s: %v", when, err)
		}
	}
	j, err := a.directory.Journal()
	if err != nil || !j.ended() || a.running == bad {
		s.Errorf("%s: the journal ends at %q (%s, %v), and the %s runs", when, j.Phase, j.Reason, err, a.running)
	}
	if want := map[Phase]string{Done: good, Returned: old}[j.Phase]; a.running != want || a.text(a.program()) != want {
		s.Errorf("%s: the journal ends at %q, and the %s runs", when, j.Phase, a.running)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(a.program()), ".*")); len(left) > 0 {
		s.Errorf("%s: %q is left", when, left)
	}
}
