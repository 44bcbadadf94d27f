package upgrade

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// taking is a node that gets what is in a file.
func taking(t *testing.T, file string, keep func(context.Context) error) *Node {
	t.Helper()
	n := (&Node{
		Directory: In(t.TempDir()), Version: "1", Keep: keep, Log: slog.New(slog.DiscardHandler),
		Fetch: func(context.Context, Offer) (io.ReadCloser, error) { return os.Open(file) },
	}).Init()
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { defer close(done); _ = n.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return n
}

// awaitIdle waits until a node has finished the upgrade that it took.
func awaitIdle(t *testing.T, n *Node) State {
	t.Helper()
	for {
		s, err := n.State()
		if err != nil {
			t.Fatal(err)
		}
		if !s.Busy {
			return s
		}
		runtime.Gosched()
	}
}

func TestNode(t *testing.T) {
	t.Parallel()
	path := copyOfSelf(t, "good", func([]byte) {})
	offer, err := Inspect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	n := taking(t, path, func(context.Context) error { kept++; return nil })
	if err := n.Take(offer); err != nil {
		t.Fatal(err)
	}
	s := awaitIdle(t, n)
	if s.Failed != "" || s.Journal.Phase != Staged || s.Journal.To != offer || s.Journal.From.SHA256 != s.SHA256 ||
		kept != 1 {
		t.Errorf("got %+v, %d keepers", s, kept)
	}
	if sum, _, err := Sum(n.Directory.Keeper()); err != nil || sum != s.SHA256 {
		t.Errorf("the keeper is not this program: %v", err)
	}
	if err := n.Take(offer); err != nil || awaitIdle(t, n).Journal.Phase != Staged || kept != 1 {
		t.Errorf("the same offer again: %v", err)
	}
	if err := n.Take(Offer{Arch: offer.Arch, SHA256: "another", Size: 1}); err == nil ||
		!strings.Contains(err.Error(), "being upgraded to another version") {
		t.Errorf("another offer: %v", err)
	}
}

func TestNode_Refuses(t *testing.T) {
	t.Parallel()
	path := copyOfSelf(t, "good", func([]byte) {})
	offer, err := Inspect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	never := func(context.Context) error { t.Error("a keeper was started"); return nil }
	for name, c := range map[string]struct {
		change func(*Offer)
		keep   func(context.Context) error
		says   string
	}{
		"nobody restarts it": {func(*Offer) {}, nil, "crawlbox install"},
		"architecture":       {func(o *Offer) { o.Arch = "riscv64" }, never, "riscv64"},
		"no size":            {func(o *Offer) { o.Size = 0 }, never, "0 bytes"},
		"another size":       {func(o *Offer) { o.Size-- }, never, "another size"},
		"longer":             {func(o *Offer) { o.Size++ }, never, "another size"},
		"another checksum":   {func(o *Offer) { o.SHA256 = strings.Repeat("0", 64) }, never, "SHA-256"},
		"no keeper": {func(*Offer) {}, func(context.Context) error {
			return errors.New("no systemd")
		}, "no systemd"},
	} {
		n, o := taking(t, path, c.keep), offer
		c.change(&o)
		said := ""
		if err := n.Take(o); err != nil {
			said = err.Error()
		} else {
			said = awaitIdle(t, n).Failed
		}
		if !strings.Contains(said, c.says) {
			t.Errorf("%s: it says %q", name, said)
		}
		if j, err := n.Directory.Journal(); err != nil || j.Phase != "" {
			t.Errorf("%s: the journal is at %q (%v)", name, j.Phase, err)
		}
		if left, _ := os.ReadDir(string(n.Directory)); len(left) > 0 {
			t.Errorf("%s: there is %v", name, left)
		}
	}
}

// TestNode_Stalls gets the start of a program, slowly, and then nothing more.
func TestNode_Stalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := (&Node{
			Directory: In(t.TempDir()),
			Log:       slog.New(slog.DiscardHandler),
			Fetch: func(ctx context.Context, _ Offer) (io.ReadCloser, error) {
				r, w := io.Pipe()
				go func() {
					for range 5 {
						time.Sleep(stallTimeout - time.Second)
						_, _ = w.Write([]byte("part"))
					}
					<-ctx.Done()
					w.CloseWithError(ctx.Err())
				}()
				return r, nil
			},
		}).Init()
		begun := time.Now()
		err := n.stage(t.Context(), Offer{Size: 100})
		took := time.Since(begun)
		late := took - 5*(stallTimeout-time.Second) - stallTimeout // silence is counted in steps
		if err == nil || !strings.Contains(err.Error(), "nothing of it came for 30s") || late < 0 ||
			late > stallTimeout/10 {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

// TestNode_Tidies finds what a power cut has left of a program that was being fetched,
// and of one that was not handed over.
func TestNode_Tidies(t *testing.T) {
	t.Parallel()
	f := In(t.TempDir())
	if err := f.make(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{f.staged(), filepath.Join(string(f),
		".crawlbox123"), filepath.Join(string(f), ".offered4")} {
		if err := os.WriteFile(path, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	(&Node{Directory: f, Log: slog.New(slog.DiscardHandler)}).Init()
	if left, _ := os.ReadDir(string(f)); len(left) > 0 {
		t.Errorf("there is %v", left)
	}
}

// TestNode_GoesOn wants a node to start the keeper that was cut off before it began.
func TestNode_GoesOn(t *testing.T) {
	t.Parallel()
	kept := make(chan struct{})
	n := (&Node{
		Directory: In(t.TempDir()),
		Keep:      func(context.Context) error { close(kept); return nil },
		Log:       slog.New(slog.DiscardHandler),
	}).Init()
	if err := errors.Join(os.MkdirAll(string(n.Directory), 0o700),
		n.Directory.write(Journal{Phase: Staged})); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.Run(ctx) }()
	<-kept
	cancel()
	<-done
}

func TestPlan(t *testing.T) {
	t.Parallel()
	answer := func(id, role, sum, arch string, managed bool) Answer {
		return Answer{
			Node:  fleet.Node{ID: id, Display: id, Role: role},
			Self:  id == "first",
			State: State{Version: "1", SHA256: sum, Arch: arch, Managed: managed},
		}
	}
	atIt, down := answer("at it", fleet.RoleWorker, "b", "amd64", true), answer("down", fleet.RoleWorker, "", "", false)
	atIt.State.Journal.Phase, down.Err = Swapped, errors.New("it is down")
	steps := Plan([]Answer{
		answer("first", fleet.RoleManager, "a", "amd64", true),
		answer("second", fleet.RoleManager, "a", "amd64", true),
		answer("w3", fleet.RoleWorker, "a", "amd64", true),
		answer("w2", fleet.RoleWorker, "a", "amd64", true),
		answer("has", fleet.RoleWorker, "b", "amd64", true),
		atIt,
		answer("arm", fleet.RoleWorker, "a", "arm64", true),
		answer("hand", fleet.RoleWorker, "a", "amd64", false),
		down,
	}, Offer{SHA256: "b", Arch: "amd64"})
	var todo, left []string
	for _, s := range steps {
		if s.Leave == "" {
			todo = append(todo, s.Node.ID)
		} else {
			left = append(left, s.Node.ID)
		}
	}
	if want := []string{"at it", "w2", "w3", "second", "first"}; !slices.Equal(todo, want) ||
		!steps[len(steps)-1].Last {
		t.Errorf("the order is %q, want %q", todo, want)
	}
	if want := []string{"arm", "down", "hand", "has"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
}

// scriptedNode is a node that answers one after the other, the last for ever.
type scriptedNode struct {
	states  []State
	errs    []error
	offered int
}

func (k *scriptedNode) UpgradeStates(context.Context) ([]Answer, error) { return nil, nil }

func (k *scriptedNode) UpgradeState(context.Context, fleet.Node) (State, error) {
	s, err := k.states[0], k.errs[0]
	k.states, k.errs = k.states[min(1, len(k.states)-1):], k.errs[min(1, len(k.errs)-1):]
	return s, err
}

func (k *scriptedNode) OfferUpgrade(context.Context, fleet.Node, Offer) error {
	k.offered++
	return nil
}

func TestUpgradeNode(t *testing.T) {
	t.Parallel()
	o, away := Offer{Version: "2", SHA256: "b"}, errors.New("connection refused")
	at := func(p Phase) State {
		return State{Journal: Journal{
			Phase:  p,
			From:   Offer{Version: "1"},
			To:     o,
			Reason: map[Phase]string{Returned: "it has crashed"}[p],
		}}
	}
	for name, c := range map[string]struct {
		states  []State
		errs    []error
		said    string
		err     string
		offered int
	}{
		"all goes well": {
			[]State{{Busy: true}, at(Staged), {}, at(Swapped), at(Done)},
			[]error{nil, nil, away, nil},
			"fetches 2|restarts with 2|runs 2 (was 1)",
			"",
			1,
		},
		"taken up":   {[]State{at(Swapped), at(Done)}, []error{nil}, "restarts with 2|runs 2 (was 1)", "", 1},
		"goes back":  {[]State{at(Returned)}, []error{nil}, "", "it runs 1 again: it has crashed", 1},
		"fails":      {[]State{{Failed: "no room"}}, []error{nil}, "", "no room", 1},
		"forgotten":  {[]State{{}}, []error{nil}, "", "forgotten the offer", 1},
		"stays away": {[]State{{}}, []error{away}, "", "connection refused", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k := &scriptedNode{c.states, c.errs, 0}
				var said []string
				err := upgradeNode(t.Context(), k, fleet.Node{}, o,
					func(text string) error { said = append(said, text); return nil })
				if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				if got := strings.Join(said, "|"); got != c.said || k.offered != c.offered {
					t.Errorf("it says %q and offers %d times", got, k.offered)
				}
			})
		})
	}
}

func TestState_Problem(t *testing.T) {
	t.Parallel()
	at := func(p Phase, sum string) State {
		return State{
			SHA256: sum,
			Journal: Journal{
				Phase:  p,
				From:   Offer{Version: "1", SHA256: "a"},
				To:     Offer{Version: "2", SHA256: "b"},
				Reason: "it has crashed",
			},
		}
	}
	for want, s := range map[string]State{
		"":                                {},
		"has failed: no room; run":        {Failed: "no room", Journal: at(Done, "").Journal},
		"is being upgraded to 2; ":        at(Swapped, "b"),
		"taken back: it has crashed; ":    at(Returned, "a"),
		"is being upgraded to 2; `system": at(Staged, "a"),
	} {
		if got := s.Problem(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, s := range []State{at(Done, "b"), at(Returned, "installed by hand since")} {
		if got := s.Problem(); got != "" {
			t.Errorf("got %q of an upgrade that is over", got)
		}
	}
}

func TestDirectory_Underway(t *testing.T) {
	t.Parallel()
	f := In(t.TempDir())
	if err := f.Underway(); err != nil {
		t.Errorf("of none: %v", err)
	}
	for phase, ended := range map[Phase]bool{
		Staged:    false,
		Swapped:   false,
		Done:      true,
		Returning: false,
		Returned:  true,
	} {
		if err := errors.Join(f.make(), f.write(Journal{Phase: phase, To: Offer{Version: "2"}})); err != nil {
			t.Fatal(err)
		}
		if err := f.Underway(); (err == nil) != ended ||
			err != nil && !strings.Contains(err.Error(), "being upgraded to 2; ") {
			t.Errorf("%s: got %v", phase, err)
		}
	}
	if err := os.WriteFile(f.journal(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Underway(); err == nil || !strings.Contains(err.Error(), "rm -r "+string(f)) {
		t.Errorf("a journal that is damaged: got %v", err)
	}
}

// TestRefuse: a version that keeps the state on one manager alone is not for a cluster where more have it.
func TestRefuse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		managers, state int
		ok              bool
	}{{1, 0, true}, {2, 0, false}, {3, 0, false}, {1, StateFormat, true}, {3, StateFormat, true}} {
		steps := []Step{{Node: fleet.Node{Role: fleet.RoleWorker}}}
		for range tc.managers {
			steps = append(steps, Step{Node: fleet.Node{Role: fleet.RoleManager}, Leave: "whatever is with it"})
		}
		err := Refuse(steps, Offer{Version: "0.9", State: tc.state})
		if (err == nil) != tc.ok || err != nil && !strings.Contains(err.Error(), "node demote") {
			t.Errorf("%+v: got %v", tc, err)
		}
	}
}
