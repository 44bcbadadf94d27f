package upgrade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// site is a node in a directory: its program is a text that it runs, and it becomes ready
// unless the text is bad.
type site struct {
	*testing.T
	dir       string // of the program
	exe       string // the program that runs, whatever has become of its file
	directory Directory
	running   string // text of the program, empty: it does not run
	starts    []string
	crashes   int
	cut       int // the number of calls after which the keeper is cut off; 0: never
	calls     int
	stop      context.CancelFunc
	started   func() // at each start
}

const (
	old   = "old program"
	good  = "good program"
	bad   = "bad program"   // is never ready
	frail = "frail program" // is ready, and crashes then
)

func offerOf(version, text string) Offer {
	sum := sha256.Sum256([]byte(text))
	return Offer{Version: version, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(text))}
}

// newSite is a node to which a program was handed.
func newSite(t *testing.T, program string) *site {
	t.Helper()
	dir := t.TempDir()
	return newSiteIn(t, dir, dir, program)
}

func newSiteIn(t *testing.T, state, dir, program string) *site {
	t.Helper()
	s := &site{T: t, dir: dir, exe: filepath.Join(t.TempDir(), "exe"), directory: In(state), running: old}
	for path, text := range map[string]string{
		s.program():          old,
		s.directory.staged(): program,
		s.directory.Keeper(): old,
	} {
		s.put(path, text)
	}
	s.journal(Journal{Phase: Staged, Program: s.program(), From: offerOf("1", old), To: offerOf("2", program)})
	return s
}

func (s *site) program() string { return filepath.Join(s.dir, "bin", "crawlbox") }

func (s *site) put(path, text string) {
	s.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
		s.Fatal(err)
	}
}

func (s *site) journal(j Journal) {
	s.Helper()
	if err := s.directory.write(j); err != nil {
		s.Fatal(err)
	}
}

func (s *site) text(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

// passed counts a call, and cuts the keeper off at its turn.
func (s *site) passed(ctx context.Context) error {
	if s.calls++; s.calls == s.cut {
		s.stop()
	}
	return ctx.Err()
}

func (s *site) Restart(ctx context.Context) error {
	if err := s.passed(ctx); err != nil {
		return err
	}
	s.running = s.text(s.program())
	s.starts = append(s.starts, s.running)
	if s.started != nil {
		s.started()
	}
	return nil
}

func (s *site) Await(ctx context.Context) error {
	if err := s.passed(ctx); err != nil {
		return err
	}
	if s.running == bad {
		return errors.New("it has crashed")
	}
	return nil
}

func (s *site) Program(ctx context.Context) (string, error) {
	if err := s.passed(ctx); err != nil {
		return "", err
	}
	if s.running == frail {
		s.crashes++
	}
	path := fmt.Sprintf("%s.%d.%d", s.exe, len(s.starts), s.crashes)
	s.put(path, s.running)
	return path, nil
}

// keep runs the keeper until it ends or is cut off.
func (s *site) keep(cut int) error {
	var ctx context.Context
	ctx, s.stop = context.WithCancel(s.Context())
	defer s.stop()
	s.cut, s.calls = cut, 0
	return Keeper{
		Directory: s.directory,
		Service:   s,
		Timeout:   time.Minute,
		Steady:    time.Millisecond,
		Log:       slog.New(slog.DiscardHandler),
	}.Run(ctx)
}

// ends checks what is there when all is over.
func (s *site) ends(phase Phase, program string) {
	s.Helper()
	j, err := s.directory.Journal()
	if err != nil || j.Phase != phase {
		s.Errorf("the phase is %s, want %s (%v)", j.Phase, phase, err)
	}
	if got := s.text(s.program()); got != program || s.running != program {
		s.Errorf("there is the %s and the %s runs, want the %s", got, s.running, program)
	}
	for _, path := range []string{s.directory.staged(), s.directory.Keeper()} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			s.Errorf("%s is left", path)
		}
	}
}

func TestKeeper(t *testing.T) {
	t.Parallel()
	s := newSite(t, good)
	if err := s.keep(0); err != nil {
		t.Fatal(err)
	}
	s.ends(Done, good)
	if got := s.text(BackupPath(s.program())); got != old {
		t.Errorf("beside it is the %q", got)
	}
	if !slices.Equal(s.starts, []string{good}) {
		t.Errorf("it was started with %q", s.starts)
	}
	if err := s.keep(0); err != nil || len(s.starts) != 1 {
		t.Errorf("a keeper with nothing to do: %v, %q", err, s.starts)
	}
}

func TestKeeper_GoesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, bad)
	if err := s.keep(0); err != nil {
		t.Fatal(err)
	}
	s.ends(Returned, old)
	if j, _ := s.directory.Journal(); j.Reason != "2 did not become ready: it has crashed" {
		t.Errorf("the reason is %q", j.Reason)
	}
}

func TestKeeper_GoesBackFromOneThatDoesNotStayUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, frail)
	if err := s.keep(0); err != nil {
		t.Fatal(err)
	}
	s.ends(Returned, old)
	if j, _ := s.directory.Journal(); j.Reason != "2 was ready and did not stay so for 1ms: it has ended and was "+
		"started again" {
		t.Errorf("the reason is %q", j.Reason)
	}
}

// TestKeeper_NotToBeReplaced wants a node to run on whose program cannot be replaced.
func TestKeeper_NotToBeReplaced(t *testing.T) {
	t.Parallel()
	s := newSite(t, good)
	s.put(s.directory.staged(), "changed since")
	if err := s.keep(0); err != nil {
		t.Fatal(err)
	}
	s.ends(Returned, old)
	if len(s.starts) > 0 {
		t.Errorf("it was restarted with %q", s.starts)
	}
}

// TestKeeper_CutOff cuts the keeper off at each of its calls, and each write of the
// journal, and wants it to come to the same end when it runs again.
func TestKeeper_CutOff(t *testing.T) {
	t.Parallel()
	for program, end := range map[string]struct {
		phase Phase
		runs  string
	}{good: {Done, good}, bad: {Returned, old}} {
		for cut := 1; ; cut++ {
			s := newSite(t, program)
			if err := s.keep(cut); err == nil {
				if cut < 4 {
					t.Errorf("the %s takes %d calls only", program, cut-1)
				}
				break
			}
			if err := s.keep(0); err != nil {
				t.Fatalf("%s, cut off at %d: %v", program, cut, err)
			}
			s.ends(end.phase, end.runs)
		}
	}
}

// TestKeeper_PowerCut begins with what a power cut can leave: the machine boots, and
// the node starts with the program that is there.
func TestKeeper_PowerCut(t *testing.T) {
	t.Parallel()
	for _, program := range []string{good, bad} {
		for _, c := range []struct {
			phase     Phase
			there     string
			beside    bool
			afterward Phase
		}{
			{Staged, old, false, ""},
			{Staged, old, true, ""},
			{Staged, program, true, ""},
			{Swapped, program, true, ""},
			{Returning, program, true, Returned},
			{Returning, old, true, Returned},
		} {
			t.Run(fmt.Sprint(program, c), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, program)
				j, _ := s.directory.Journal()
				j.Phase = c.phase
				s.journal(j)
				s.put(s.program(), c.there)
				if c.beside {
					s.put(BackupPath(s.program()), old)
				}
				s.running = c.there
				if err := s.keep(0); err != nil {
					t.Fatal(err)
				}
				switch {
				case c.afterward == "" && program == good:
					s.ends(Done, good)
				default:
					s.ends(Returned, old)
				}
			})
		}
	}
}
