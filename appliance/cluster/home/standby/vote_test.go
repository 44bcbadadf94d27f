package standby

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
)

var start = time.Date(2024, 11, 22, 8, 0, 0, 0, time.UTC)

func after(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func newKeeper(t *testing.T, cfg configs.Config, begun time.Time) *Keeper {
	t.Helper()
	return &Keeper{Config: cfg, Log: slog.New(slog.DiscardHandler), told: begun}
}

func homeNumber(n int) beat {
	return beat{Number: n, Name: fmt.Sprint("h", n), Addr: netip.MustParseAddr(fmt.Sprint("10.0.0.", n+1))}
}

// TestKeeper_Votes wants a manager to tell one home at a time that it is one, and to agree to each number once.
func TestKeeper_Votes(t *testing.T) {
	t.Parallel()
	cfg := machine(t)
	k := newKeeper(t, cfg, start)
	judge := func(at float64, n int, want bool, number int) {
		t.Helper()
		v, err := k.judge(after(at), homeNumber(n))
		if err != nil || v.OK != want || v.Number != number {
			t.Errorf("after %v s home %d hears %+v, %v", at, n, v, err)
		}
	}
	agree := func(at float64, n int, want bool, known int) {
		t.Helper()
		v, err := k.agree(after(at), agreement{n})
		if err != nil || v.OK != want || v.Known != known || want != (v.Why == "") {
			t.Errorf("after %v s to home %d it says %+v, %v", at, n, v, err)
		}
	}
	agree(8, 1, false, 0) // it has just begun
	agree(9, 1, false, 0) // it knows of none
	judge(9, 0, true, 0)
	judge(10, 0, true, 0)
	agree(18, 1, false, 0)
	agree(18.6, 1, true, 0)
	judge(19, 0, false, 0) // it may come to another one
	agree(19, 1, false, 1) // another manager asks
	agree(19, 2, false, 1) // at the same moment
	agree(22, 2, true, 1)
	k = newKeeper(t, cfg, after(30))
	judge(31, 0, false, 0)
	judge(1000, 0, false, 0) // the other one may begin at any time
	if v, err := k.judge(after(1000), homeNumber(0)); err != nil || v.Agreed != 2 {
		t.Errorf("a home instead of which another one was to be hears %+v, %v", v, err)
	}
	agree(1000, 3, true, 2) // it has a higher number then
	judge(1001, 3, true, 0)
	judge(1002, 2, false, 3)
	judge(1003, 0, false, 3)
	// Two homes at once: that with the higher number, once the one before is none.
	judge(1004, 4, false, 0)
	judge(1005, 3, false, 4)
	judge(1009, 4, false, 0)
	judge(1010, 4, true, 0)
	k = newKeeper(t, cfg, after(1011))
	judge(1011, 4, true, 0)
	judge(1012, 5, false, 0)
	judge(1020, 5, true, 0)
	// This machine was a home itself, and has stood down.
	if err := home.WriteNumber(cfg.DataDir, 9); err != nil {
		t.Fatal(err)
	}
	agree(1030, 9, false, 9)
	agree(1030, 10, true, 9)
	cfg = machine(t)
	k = newKeeper(t, cfg, start)
	judge(1, 5, false, 0)
	if v, err := k.judge(after(20), homeNumber(1)); err != nil || v.beat != homeNumber(5) {
		t.Errorf("a home before hears %+v, %v", v, err)
	}
}

// TestKeeper_Damaged wants nothing said by who does not know what it has said.
func TestKeeper_Damaged(t *testing.T) {
	t.Parallel()
	cfg := machine(t)
	write(t, filepath.Join(cfg.DataDir, memoryFile), "{")
	k := newKeeper(t, cfg, start)
	if v, err := k.judge(after(100), homeNumber(0)); err == nil || v.OK {
		t.Errorf("a home hears %+v, %v", v, err)
	}
	if v, err := k.agree(after(100), agreement{1}); err == nil || v.OK {
		t.Errorf("to another it says %+v, %v", v, err)
	}
}

// TestLease wants a home to serve while a majority has said that it is one, and with less than three managers always.
func TestLease(t *testing.T) {
	t.Parallel()
	others := []Manager{}
	for i := range 4 {
		others = append(others, Manager{Addr: netip.AddrPortFrom(homeNumber(i).Addr, 7980)})
	}
	for _, tc := range []struct {
		others int
		said   []float64 // seconds ago
		want   bool
	}{
		{0, nil, true}, {1, nil, true}, {2, nil, false}, {2, []float64{5.9}, true}, {2, []float64{6}, false},
		{3, []float64{1}, false}, {3, []float64{1, 1}, true}, {4, []float64{1}, false}, {4, []float64{1, 5}, true},
		{4, []float64{1, 7, 7, 7}, false},
	} {
		l := newLease()
		for i, ago := range tc.said {
			l.answered(others[i], after(-ago), &verdict{OK: true}, false)
		}
		if got := l.holds(start, others[:tc.others]); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
	l := newLease()
	if first, then := l.idle(others), l.idle(others); len(first) != 4 || len(then) != 0 {
		t.Errorf("idle are %v, then %v", first, then)
	}
	l.answered(others[0], start, &verdict{}, false)
	if l.holds(start, others[:2]) || len(l.idle(others)) != 1 {
		t.Error("a refusal counts")
	}
	if l.answered(others[0], start, nil, true); l.holds(start, others[:2]) {
		t.Error("a manager that has refused counts as one of a version before")
	}
	if l.answered(others[1], start, nil, true); !l.holds(start, others[:2]) {
		t.Error("one of a version before agrees to no other home")
	}
	if l.outdated(0) != 0 {
		t.Error("nobody has agreed to another home")
	}
	l.answered(others[2], start, &verdict{Agreed: 3}, false)
	if l.outdated(2) != 4 || l.outdated(3) != 0 {
		t.Errorf("instead of 2 it has to have %d, of 3 %d", l.outdated(2), l.outdated(3))
	}
}

// TestOneHome has managers that are cut off from each other, start again and answer late elect homes at random, and
// wants one to serve at a time.
func TestOneHome(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	served, homes, again := 0, 0, 0
	for round := range 30 {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		n := 3 + 2*r.IntN(2)
		s, h, a := oneHome(t, r, n)
		served, homes, again = served+s, homes+h, again+a
	}
	t.Logf("%d homes, which served for %d s in all and had another number %d times", homes, served, again)
	if homes < 40 || served < 2000 || again < 5 {
		t.Error("too little happens")
	}
}

// aHome is a manager that is one, or thinks so.
type aHome struct {
	on     int
	number int
	lease  *lease
	down   bool // it has heard of another one: it is a manager as any other
}

func oneHome(t *testing.T, r *rand.Rand, n int) (served, homes, renumbered int) {
	t.Helper()
	var managers []Manager
	var keepers []*Keeper
	for i := range n {
		managers = append(managers, Manager{fmt.Sprint("h", i), netip.AddrPortFrom(homeNumber(i).Addr, 7980)})
		keepers = append(keepers, newKeeper(t, machine(t), start))
	}
	others := func(i int) (list []Manager) {
		for j, m := range managers {
			if j != i {
				list = append(list, m)
			}
		}
		return list
	}
	index := func(m Manager) int {
		for i := range managers {
			if managers[i] == m {
				return i
			}
		}
		return -1
	}
	newHome := func(on, number int) *aHome {
		homes++
		return &aHome{on: on, number: number, lease: newLease()}
	}
	all := []*aHome{newHome(0, 0)}
	cut := map[[2]int]bool{} // one way
	type answer struct {
		at, asked time.Time
		of        Manager
		to        *aHome
		verdict
	}
	var late []answer
	type begin struct {
		at time.Time
		*aHome
	}
	var elected []begin
	for tick := range 4 * 300 {
		now := after(float64(tick) / 4)
		if r.IntN(40) == 0 {
			cut = map[[2]int]bool{}
			for range r.IntN(2 * n) {
				cut[[2]int{r.IntN(n), r.IntN(n)}] = true
			}
			if r.IntN(2) == 0 { // one alone
				for i, alone := 0, r.IntN(n); i < n; i++ {
					cut[[2]int{i, alone}], cut[[2]int{alone, i}] = true, true
				}
			}
		}
		if r.IntN(100) == 0 {
			i := r.IntN(n)
			keepers[i] = newKeeper(t, keepers[i].Config, now)
		}
		isHome := map[int]bool{} // these agree to nothing
		for _, h := range all {
			isHome[h.on] = isHome[h.on] || !h.down
		}
		for _, h := range all {
			if h.down || tick%4 != h.on%4 {
				continue
			}
			if n := h.lease.outdated(h.number); n > 0 && !h.lease.holds(now, others(h.on)) {
				if agreed := agree(t, now, keepers, h.on, n, isHome, cut); 1+len(agreed) > len(keepers)/2 {
					h.number = n
					renumbered++
				}
				h.lease.heard(n)
			}
			for _, m := range h.lease.idle(others(h.on)) {
				to := index(m)
				if cut[[2]int{h.on, to}] {
					h.lease.answered(m, now, nil, false)
					continue
				}
				v := verdict{}
				if i := slices.IndexFunc(all, func(o *aHome) bool { return o.on == to && !o.down }); i >= 0 {
					v.beat = homeNumber(all[i].number)
				} else {
					var err error
					if v, err = keepers[to].judge(now, homeNumber(h.number)); err != nil {
						t.Fatal(err)
					}
				}
				if cut[[2]int{to, h.on}] {
					h.lease.answered(m, now, nil, false)
					continue
				}
				if v.Number > h.number {
					h.down = true
					if err := home.WriteNumber(keepers[h.on].Config.DataDir, h.number); err != nil {
						t.Fatal(err)
					}
					keepers[h.on] = newKeeper(t, keepers[h.on].Config, now)
				}
				late = append(late, answer{now.Add(time.Duration(r.IntN(2000)) * time.Millisecond), now, m, h, v})
			}
		}
		rest := late[:0]
		for _, a := range late {
			if a.at.After(now) {
				rest = append(rest, a)
				continue
			}
			a.to.lease.answered(a.of, a.asked, &a.verdict, false)
		}
		late = rest
		if r.IntN(8) == 0 { // somebody leads, or thinks so
			if leads := r.IntN(n); !isHome[leads] && keepers[leads].silent(now) >= Silence {
				// Who is elected begins at once, much later, or never.
				if h := elect(t, r, now, keepers, leads, isHome, cut); h != nil && r.IntN(5) > 0 {
					begins := now
					if r.IntN(3) == 0 {
						begins = now.Add(time.Duration(r.IntN(120)) * time.Second)
					}
					elected = append(elected, begin{begins, h})
				}
			}
		}
		waiting := elected[:0]
		for _, e := range elected {
			if e.at.After(now) {
				waiting = append(waiting, e)
			} else if !slices.ContainsFunc(all, func(o *aHome) bool { return o.on == e.on && !o.down }) {
				all = append(all, newHome(e.on, e.number))
			}
		}
		elected = waiting
		serving := 0
		for _, h := range all {
			if !h.down && h.lease.holds(now, others(h.on)) {
				serving++
			}
		}
		if serving > 1 {
			t.Fatalf("%d homes serve at once, after %v", serving, now.Sub(start))
		}
		if served += serving; tick%4 != 0 {
			served -= serving
		}
	}
	return served, homes, renumbered
}

// agree returns which managers agree to a number that one of them asks for, without that one.
func agree(t *testing.T, now time.Time, keepers []*Keeper, asks, number int, isHome map[int]bool,
	cut map[[2]int]bool,
) (agreed []int) {
	t.Helper()
	for i, k := range keepers {
		if i == asks || isHome[i] || cut[[2]int{asks, i}] {
			continue
		}
		v, err := k.agree(now, agreement{number})
		if err != nil {
			t.Fatal(err)
		}
		if v.OK && !cut[[2]int{i, asks}] {
			agreed = append(agreed, i)
		}
	}
	return agreed
}

// elect has one manager ask the others about a next home, and returns it if a majority agrees.
func elect(t *testing.T, r *rand.Rand, now time.Time, keepers []*Keeper, leads int, isHome map[int]bool,
	cut map[[2]int]bool,
) *aHome {
	t.Helper()
	v, err := keepers[leads].agree(now, agreement{1})
	number := v.Known
	if err == nil && !v.OK {
		v, err = keepers[leads].agree(now, agreement{number + 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK {
		return nil
	}
	agreed := append([]int{leads}, agree(t, now, keepers, leads, number+1, isHome, cut)...)
	if len(agreed) <= len(keepers)/2 {
		return nil
	}
	return &aHome{on: agreed[r.IntN(len(agreed))], number: number + 1}
}

// cluster is managers over the wire, each with a keeper, and a home.
type cluster struct {
	t        *testing.T
	managers []Manager
	keepers  []*Keeper
	mu       sync.Mutex
	away     map[int]bool
	anew     []int
}

func newCluster(t *testing.T, n int) (*cluster, *http.Client) {
	t.Helper()
	c := &cluster{t: t, away: map[int]bool{}}
	var client *http.Client
	for i := range n {
		k := &Keeper{
			Config:  machine(t),
			Cluster: func(context.Context) (string, error) { return "c1", nil },
			Again:   func() { c.anew = append(c.anew, i) },
			Audit:   func(string, ...slog.Attr) {},
			Log:     slog.New(slog.NewTextHandler(t.Output(), nil)),
		}
		mux := http.NewServeMux()
		for _, h := range k.Handlers() {
			mux.Handle(h.Route(), h)
		}
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.mu.Lock()
			away := c.away[i]
			c.mu.Unlock()
			if away {
				http.Error(w, "away", http.StatusServiceUnavailable)
				return
			}
			mux.ServeHTTP(w, r)
		}))
		t.Cleanup(srv.Close)
		client = srv.Client()
		k.Addr = netip.MustParseAddrPort(srv.Listener.Addr().String()).Addr()
		c.keepers = append(c.keepers, k)
		at := netip.MustParseAddrPort(srv.Listener.Addr().String())
		c.managers = append(c.managers, Manager{fmt.Sprint("h", i+1), at})
	}
	return c, client
}

// TestLeader_Takeover has the manager with the newest copy be the home, once Swarm says that the one before is gone
// and a majority has not heard it.
func TestLeader_Takeover(t *testing.T) {
	t.Parallel()
	c, client := newCluster(t, 2) // beside the home
	gone := netip.MustParseAddr("10.9.9.9")
	state := fleet.StateReady
	l := &Leader{
		Keeper: c.keepers[0],
		Others: func() []Manager {
			return []Manager{{"gone", netip.AddrPortFrom(gone, 7980)}, c.managers[1]}
		},
		Home: func() netip.Addr { return gone },
		Nodes: func(context.Context) ([]fleet.Node, error) {
			return []fleet.Node{{Addr: gone.String(), State: state}}, nil
		},
		Client: func() *http.Client { return client },
		Log:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	look := func(want string) {
		t.Helper()
		l.again = time.Time{}
		for _, k := range c.keepers { // they have agreed to another one long ago
			k.mu.Lock()
			if k.memory != nil {
				k.memory.At = start
			}
			k.mu.Unlock()
		}
		err := l.look(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("it says %v, want %q", err, want)
		}
		if len(c.anew) != 0 && want != "" {
			t.Error("somebody is the home now")
		}
	}
	long := time.Now().Add(-2 * Silence)
	silence := func(all ...time.Time) {
		for i, at := range all {
			c.keepers[i].mu.Lock()
			c.keepers[i].told = at
			c.keepers[i].mu.Unlock()
		}
	}
	look("") // it has just begun
	for _, k := range c.keepers {
		if v, err := k.judge(time.Now(), beat{Name: "gone", Addr: gone}); err != nil || !v.OK {
			t.Fatalf("%+v, %v", v, err)
		}
	}
	silence(long, long)
	look("") // Swarm reaches it
	state = fleet.StateUnreachable
	silence(long, time.Now())
	look("1 of 3 managers agree (h2: it has heard the home, or begun, 0s ago)")
	silence(long, long)
	look("none has a copy")
	for i, at := range []time.Time{start, start.Add(time.Second)} {
		put := Copy{Home: "gone", Run: "1-1", Time: at}
		k := c.keepers[i]
		write(t, filepath.Join(put.directory(k.Config.DataDir), "queue", "segment-0000000001"), fmt.Sprint("of ", i))
		write(t, filepath.Join(put.directory(k.Config.DataDir), "queue.dir"), "")
		write(t, filepath.Join(put.directory(k.Config.DataDir), "config"), "queue: {}\n")
		k.has = &put
	}
	look("")
	if len(c.anew) != 1 || c.anew[0] != 1 {
		t.Fatalf("anew begin %v", c.anew)
	}
	to := c.keepers[1].Config
	to.Queue = &configs.Queue{}
	text, err := os.ReadFile(filepath.Join(to.QueueDir(), "segment-0000000001"))
	if err != nil || string(text) != "of 1" || setup.StateOf(to) != setup.Created {
		t.Errorf("the home has %q, %v", text, err)
	}
	if n := home.Number(to.DataDir); n < 2 {
		t.Errorf("it has the number %d", n)
	}
	if text := Said(to.DataDir); !strings.Contains(text, "gone, which had it and is gone, was last heard") {
		t.Errorf("it says %q", text)
	}
	was := home.Number(to.DataDir)
	if err := errors.Join(home.WriteNumber(to.DataDir, was+3), renumber(to.DataDir, was, was+3)); err != nil {
		t.Error(err)
	}
	if Said(to.DataDir) == "" {
		t.Error("a home that goes on with another number no longer says that it took the queue over")
	}
	if text := Said(c.keepers[0].Config.DataDir); text != "" {
		t.Errorf("another says %q", text)
	}
	// Not again at once, nor without having agreed.
	if err := l.look(t.Context()); err != nil || len(c.anew) != 1 {
		t.Errorf("then %v, anew begin %v", err, c.anew)
	}
	to2 := agent.Target{Client: client, Addr: c.managers[1].Addr}
	if _, err := takeCall.Ask(t.Context(), to2, agreement{99}); err == nil {
		t.Error("a manager is the home that has not agreed")
	}
}

// hears has a manager remember that a home with a number has asked it.
func (k *Keeper) hears(t *testing.T, number int, addr netip.Addr) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	next := *k.memory
	next.beat = beat{Number: number, Name: "h9", Addr: addr}
	if err := k.save(next); err != nil {
		t.Fatal(err)
	}
}

// holdable is a queue.
type holdable struct {
	mu   sync.Mutex
	held string
}

func (h *holdable) Hold(why string) { h.mu.Lock(); h.held = why; h.mu.Unlock() }
func (h *holdable) Release()        { h.mu.Lock(); h.held = ""; h.mu.Unlock() }
func (h *holdable) why() string     { h.mu.Lock(); defer h.mu.Unlock(); return h.held }

// TestFence lets a queue go once one of two others says that it is here, has it have a higher number than one that was
// taken off the list, and has the home stand down that hears of another one.
func TestFence(t *testing.T) {
	t.Parallel()
	c, client := newCluster(t, 2)
	p := newPair(t)
	h := p.home
	h.Addr = netip.MustParseAddr("10.0.0.1")
	h.Others = func() []Manager { return c.managers }
	h.Client = func() *http.Client { return client }
	c.away[0] = true
	queue := &holdable{held: Held}
	if !h.Guarded() {
		t.Error("nobody could take it over")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Fence(ctx, queue) }()
	await := func(what string, is func() bool) {
		t.Helper()
		for until := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("not after 20 s: %s", what)
			}
		}
	}
	await("it is let go", func() bool { return queue.why() == "" })
	c.keepers[1].hears(t, 3, netip.MustParseAddr("10.0.0.9"))
	await("it is held, since one that is no manager any longer has a higher number", func() bool {
		return queue.why() == Held
	})
	await("it has a higher number then", func() bool { return home.Number(h.Config.DataDir) == 4 && queue.why() == "" })
	if m, err := home.Load(h.Config.DataDir); err != nil || m != nil {
		t.Fatalf("it stands down for %+v, %v", m, err)
	}
	c.keepers[1].hears(t, 5, c.managers[1].Addr.Addr())
	await("it stands down", func() bool {
		m, err := home.Load(h.Config.DataDir)
		return err == nil && m != nil && m.Asked && m.Name == "h9" && m.ID == moveID(5)
	})
	await("it is held", func() bool { return queue.why() == Held })
	cancel()
	if err := errors.Join(<-ended); err != nil {
		t.Error(err)
	}
}

// TestKeeper_Agree wants a manager to agree to another home where no home can think any longer that it is one by what
// this manager told it, and to tell a home that it is one where it tells no other.
func TestKeeper_Agree(t *testing.T) {
	t.Parallel()
	of := func(number, told, agreed int) memory {
		return memory{beat: homeNumber(number), Told: told, Agreed: agreed, At: start.Add(-time.Hour)}
	}
	heard := func(seconds int) string {
		return fmt.Sprintf("it has heard the home, or begun, %ds ago", seconds)
	}
	for name, tc := range map[string]struct {
		memory
		silent float64 // seconds since it told a home that it is one
		was    int     // number of the home that this machine was
		number int     // that is asked for
		agrees string  // why it does not; "yes": it does
		judges bool    // it tells a home with the number that it is one
	}{
		"the home is gone":                       {of(0, 0, 0), 9, 0, 1, "yes", true},
		"it was heard a moment ago":              {of(0, 0, 0), 8, 0, 1, heard(8), false},
		"it is that home":                        {of(2, 2, 2), 1, 0, 2, heard(1), true},
		"it is that home, heard long ago":        {of(2, 2, 2), 60, 0, 2, "it knows of home 2", true},
		"it knows of a newer one":                {of(3, 3, 3), 60, 0, 2, "it knows of home 3", false},
		"it has agreed to a newer one":           {of(1, 1, 3), 60, 0, 2, "it knows of home 3", false},
		"it has agreed to it":                    {of(1, 1, 2), 60, 0, 2, "it knows of home 2", true},
		"it was that itself":                     {of(1, 1, 1), 60, 2, 2, "it knows of home 2", true},
		"it was a home before":                   {of(1, 1, 1), 60, 2, 3, "yes", true},
		"another one has asked and was not told": {of(4, 3, 4), 2, 0, 4, heard(2), false},
		"it knows of no home":                    {memory{}, 60, 0, 1, "it has heard of no home yet", true},
	} {
		cfg := machine(t)
		k := newKeeper(t, cfg, after(-tc.silent))
		k.memory = &tc.memory
		if err := home.WriteNumber(cfg.DataDir, tc.was); err != nil {
			t.Fatal(err)
		}
		v, err := k.judge(start, homeNumber(tc.number))
		if err != nil || v.OK != tc.judges {
			t.Errorf("%s: the home hears %+v, %v", name, v, err)
		}
		k = newKeeper(t, machine(t), after(-tc.silent))
		k.Config, k.memory = cfg, &tc.memory
		got, err := k.agree(start, agreement{tc.number})
		if why := got.Why; err != nil || got.OK != (tc.agrees == "yes") || !got.OK && why != tc.agrees {
			t.Errorf("%s: it says %+v, %v, want %q", name, got, err, tc.agrees)
		}
	}
}

// ends is a queue that ends when it is told to.
type ends struct{ ended func() }

func (e ends) Ready() <-chan struct{} { return nil }

func (e ends) Run(ctx context.Context) error {
	<-ctx.Done()
	e.ended()
	return nil
}

// TestBefore wants managers to be brought what a queue has written until it ended with its node, and nothing of one
// that was held.
func TestBefore(t *testing.T) {
	t.Parallel()
	for _, held := range []bool{false, true} {
		p := newPair(t)
		path := filepath.Join(p.home.Config.QueueDir(), "segment-0000000001")
		write(t, path, "first ")
		if err := p.bring(t); err != nil {
			t.Fatal(err)
		}
		run := p.run
		if held {
			p.run = ""
		}
		ctx, end := context.WithCancel(t.Context())
		end()
		queue := ends{func() {
			p.run = "" // it serves no longer
			write(t, path, "first last")
		}}
		if err := p.home.Before(queue).Run(ctx); err != nil {
			t.Fatal(err)
		}
		c, err := Have(p.keeper.Config.DataDir)
		if err != nil || c == nil || c.Run != run {
			t.Fatalf("the copy is %+v, %v", c, err)
		}
		copied, err := os.ReadFile(filepath.Join(c.directory(p.keeper.Config.DataDir), "queue", "segment-0000000001"))
		if want := map[bool]string{false: "first last", true: "first "}[held]; err != nil || string(copied) != want {
			t.Errorf("held %v: the copy has %q, %v", held, copied, err)
		}
	}
}
