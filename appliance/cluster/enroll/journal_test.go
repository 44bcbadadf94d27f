package enroll

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
)

func openJournal(t *testing.T, dir string, ca pki.KeyHash) *Journal {
	t.Helper()
	j, err := OpenJournal(dir, ca)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJournal_ResumesAtEveryPhase(t *testing.T) {
	t.Parallel()
	errPower := errors.New("power cut")
	steps := phases[1:]
	for _, broken := range steps {
		for _, before := range []bool{true, false} { // before or after the step took effect
			dir, done, cut := t.TempDir(), map[Phase]int{}, false
			run := func() error {
				j := openJournal(t, dir, pki.KeyHash{1})
				for _, p := range steps {
					err := j.Do(p, func() error {
						if p == broken && before && !cut {
							cut = true
							return errPower
						}
						done[p]++
						if p == broken && !cut {
							cut = true
							return errPower
						}
						return nil
					})
					if err != nil {
						return err
					}
				}
				return nil
			}
			if err := run(); !errors.Is(err, errPower) {
				t.Fatalf("first run: %v", err)
			}
			for range 2 {
				if err := run(); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range steps {
				want := 1
				if p == broken && !before {
					want = 2 // steps find out themselves that they are done
				}
				if done[p] != want {
					t.Errorf("cut in %s, before %v: step %s ran %d times, want %d", broken, before, p, done[p], want)
				}
			}
			if j := openJournal(t, dir, pki.KeyHash{1}); j.entry.Phase != PhaseDone || !j.Reached(PhaseCertified) {
				t.Errorf("phase is %q", j.entry.Phase)
			}
		}
	}
}

func TestJournal_DoesNotSkip(t *testing.T) {
	t.Parallel()
	j := openJournal(t, t.TempDir(), pki.KeyHash{1})
	for _, p := range []Phase{PhaseSwarmJoined, PhaseDone, "dancing"} {
		if err := j.Do(p, nil); err == nil || j.entry.Phase != PhaseNone {
			t.Errorf("skipped to %q: %v, phase %q", p, err, j.entry.Phase)
		}
	}
}

func TestJournal_OtherCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, dir, pki.KeyHash{1})
	if err := j.Do(PhaseStarted, nil); err != nil {
		t.Fatal(err)
	}
	if other := openJournal(t, dir, pki.KeyHash{2}); other.entry.Phase != PhaseNone {
		t.Errorf("a join that only started holds the next one up at %q", other.entry.Phase)
	}
	if err := j.Do(PhaseCertified, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(dir, pki.KeyHash{2}); !errors.Is(err, pki.ErrOtherCluster) {
		t.Errorf("two clusters: %v", err)
	}
	path := filepath.Join(dir, journalFile)
	testenv.WantMode(t, path, 0o600)
	for _, data := range []string{"", "{", `{"cluster":"x","phase":"dancing"}`} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenJournal(dir, pki.KeyHash{1}); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("journal %q: %v", data, err)
		}
	}
}

func TestLoadIdentity_Damaged(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	dir := m.idDir
	path := filepath.Join(dir, pki.IdentityFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"empty": "", "cut": string(good[:len(good)/2]), "nothing": "{}"} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pki.LoadIdentity(dir); err == nil || !strings.Contains(err.Error(), path+" is damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, pki.KeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadIdentity(dir); err == nil {
		t.Error("loaded without its key")
	}
}
