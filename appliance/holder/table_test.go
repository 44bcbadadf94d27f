package holder

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/holder/ask"
)

// bubble runs a test of a table that follows an engine, which has told it all there is for longer than the
// grace of what was before.
func bubble(t *testing.T, fn func(t *testing.T, e *engine, tab *table)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(nil)
		tab := newTable(e, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var following sync.WaitGroup
		following.Go(func() { tab.follow(ctx) })
		time.Sleep(time.Second)
		fn(t, e, tab)
		cancel()
		following.Wait()
	})
}

// asked is a question that waits.
type asked struct {
	ending ask.Ending
	err    error
	at     time.Time // it was answered
	done   chan struct{}
}

func askEnding(ctx context.Context, tab *table, n int, started time.Time) *asked {
	a := &asked{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.ending, a.err = tab.awaitEnd(ctx, id(n), started)
		a.at = time.Now()
	}()
	return a
}

// askHolder asks about a container that runs, as one does who has found out that it holds a connection.
func askHolder(t *testing.T, tab *table, n int, started time.Time) *asked {
	t.Helper()
	r, ok, err := tab.find(t.Context(), []string{id(n)}, func(string, int) bool { return true })
	if err != nil || !ok || !r.started.Equal(started) {
		t.Fatalf("the run of %s since %s is %+v, %v, %v", id(n), started, r, ok, err)
	}
	return askEnding(t.Context(), tab, n, started)
}

// want fails unless the answer is there once all is quiet, and as it should be.
func (a *asked) want(t *testing.T, name string, want ask.Ending) {
	t.Helper()
	synctest.Wait()
	select {
	case <-a.done:
	default:
		t.Errorf("%s: there is no answer", name)
		return
	}
	if a.err != nil || a.ending != want {
		t.Errorf("%s: %+v, %v; want %+v", name, a.ending, a.err, want)
	}
}

func (a *asked) wantNone(t *testing.T, name string) {
	t.Helper()
	synctest.Wait()
	select {
	case <-a.done:
		t.Errorf("%s: it is said to have ended: %+v, %v", name, a.ending, a.err)
	default:
	}
}

func TestEnded(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(e *engine)
		want ask.Ending
	}{
		"done":              {func(e *engine) { e.die(1, 0) }, ask.Ending{Known: true}},
		"done, and removed": {func(e *engine) { e.die(1, 0); e.remove(1) }, ask.Ending{Known: true}},
		"failed":            {func(e *engine) { e.die(1, 3) }, ask.Ending{Known: true, Code: 3}},
		"out of memory": {func(e *engine) { e.outOfMemory(1); e.die(1, 137) },
			ask.Ending{Known: true, Code: 137, OutOfMemory: true}},
		"stopped": {func(e *engine) { e.signal(1); time.Sleep(9 * time.Second); e.die(1, 0) },
			ask.Ending{Known: true, Stopped: true}},
		"killed": {func(e *engine) { e.signal(1); e.die(1, 137) }, ask.Ending{Known: true, Code: 137, Stopped: true}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, e *engine, tab *table) {
				started := e.begin(1)
				before := askHolder(t, tab, 1, started)
				time.Sleep(time.Hour)
				before.wantNone(t, "while it runs")
				c.end(e)
				before.want(t, "who waits", c.want)
				askEnding(t.Context(), tab, 1, started).want(t, "who asks later", c.want)
				another := askEnding(t.Context(), tab, 1, started.Add(-2*time.Second))
				another.want(t, "another run", ask.Ending{Stopped: true})
				unknown := askEnding(t.Context(), tab, 2, started)
				unknown.want(t, "none that there was", ask.Ending{Stopped: true})
			})
		})
	}
}

// TestEnded_Again has a container that is started again: each of its runs ends for itself.
func TestEnded_Again(t *testing.T) {
	bubble(t, func(t *testing.T, e *engine, tab *table) {
		first := e.begin(1)
		one := askHolder(t, tab, 1, first)
		time.Sleep(time.Minute)
		e.die(1, 2)
		time.Sleep(time.Millisecond)
		second := e.begin(1)
		two := askHolder(t, tab, 1, second)
		one.want(t, "the first", ask.Ending{Known: true, Code: 2})
		time.Sleep(time.Hour)
		two.wantNone(t, "the second")
		e.signal(1)
		e.die(1, 0)
		two.want(t, "the second", ask.Ending{Known: true, Stopped: true})
		time.Sleep(time.Millisecond)
		third := e.begin(1)
		three := askHolder(t, tab, 1, third)
		time.Sleep(time.Millisecond)
		e.die(1, 0)
		three.want(t, "the third, which got no signal", ask.Ending{Known: true})
	})
}

// TestEnded_Unwatched has containers end while the engine is away, and while nobody is told: that they are done
// can't be told any more.
func TestEnded_Unwatched(t *testing.T) {
	bubble(t, func(t *testing.T, e *engine, tab *table) {
		var waiting []*asked
		for n := range 4 {
			waiting = append(waiting, askHolder(t, tab, n, e.begin(n)))
		}
		time.Sleep(time.Hour)
		e.leave()
		e.die(0, 0)
		e.die(1, 9)
		e.die(2, 0)
		e.mu.Lock()
		delete(e.all, id(2)) // removed
		e.mu.Unlock()
		time.Sleep(time.Hour)
		for n, a := range waiting {
			a.wantNone(t, fmt.Sprint(n))
		}
		e.comeBack()
		time.Sleep(5 * time.Second)
		waiting[0].want(t, "0", ask.Ending{Known: true, Stopped: true})
		waiting[1].want(t, "1", ask.Ending{Known: true, Code: 9, Stopped: true})
		waiting[2].want(t, "2", ask.Ending{Stopped: true})
		waiting[3].wantNone(t, "3")
		time.Sleep(2 * grace)
		e.die(3, 0)
		waiting[3].want(t, "3, long after", ask.Ending{Known: true})
	})
}

// TestEnded_SoonAfter has one end soon after the table begins to follow: it may have been sent a signal
// before.
func TestEnded_SoonAfter(t *testing.T) {
	bubble(t, func(t *testing.T, e *engine, tab *table) {
		started := e.begin(1)
		time.Sleep(time.Hour)
		e.leave()
		e.comeBack()
		time.Sleep(5 * time.Second)
		a := askHolder(t, tab, 1, started)
		time.Sleep(grace / 2)
		e.die(1, 0)
		a.want(t, "it", ask.Ending{Known: true, Stopped: true})
	})
}

// TestEnded_StartedWithTheEngine has the engine start a container again as it comes back: the run that was has
// ended.
func TestEnded_StartedWithTheEngine(t *testing.T) {
	bubble(t, func(t *testing.T, e *engine, tab *table) {
		a := askHolder(t, tab, 1, e.begin(1))
		time.Sleep(time.Hour)
		e.leave()
		e.die(1, 0)
		time.Sleep(time.Minute)
		second := e.begin(1)
		e.comeBack()
		time.Sleep(5 * time.Second)
		a.want(t, "the run before", ask.Ending{Stopped: true})
		b := askHolder(t, tab, 1, second)
		time.Sleep(time.Hour)
		b.wantNone(t, "the one since")
	})
}

// TestEnded_Untold has events that are lost.
func TestEnded_Untold(t *testing.T) {
	bubble(t, func(t *testing.T, e *engine, tab *table) {
		a := askHolder(t, tab, 1, e.begin(1))
		time.Sleep(time.Minute)
		e.mu.Lock()
		c := e.all[id(1)]
		c.Running, c.Code, c.Ended = false, 0, time.Now()
		e.mu.Unlock()
		time.Sleep(listEvery + listSoon + 2*again)
		a.want(t, "it", ask.Ending{Known: true, Stopped: true})
	})
}

// TestEnded_Bounds: endings are forgotten, the oldest first, and those who no longer wait are.
func TestEnded_Bounds(t *testing.T) {
	bubble(t, func(t *testing.T, e *engine, tab *table) {
		ctx, cancel := context.WithCancel(t.Context())
		started := e.begin(0)
		synctest.Wait()
		for range 500 {
			askEnding(ctx, tab, 0, started)
			askEnding(ctx, tab, 1, started) // none that there is
		}
		time.Sleep(listEvery + time.Second) // then it is known that there is no other
		synctest.Wait()
		if e.asked > 2 {
			t.Errorf("the engine was asked %d times", e.asked)
		}
		if n := tab.changed[id(0)].users; n != 500 || len(tab.changed) != 1 {
			t.Errorf("%d wait for one, %d for others", n, len(tab.changed)-1)
		}
		cancel()
		synctest.Wait()
		if n := len(tab.changed); n > 0 {
			t.Errorf("%d wait that do not", n)
		}
		for n := range keptEndings + 100 {
			e.begin(n + 1)
			time.Sleep(time.Millisecond)
			e.die(n+1, 1)
			e.remove(n + 1)
			synctest.Wait()
		}
		if len(tab.ended) != keptEndings || len(tab.known) != keptEndings+1 {
			t.Errorf("%d that ended are kept, and %d in all", len(tab.ended), len(tab.known))
		}
		if tab.known[id(keptEndings+100)] == nil || tab.known[id(1)] != nil {
			t.Error("it is not the oldest that are forgotten")
		}
		for range 10 * keptRuns {
			e.die(0, 1)
			time.Sleep(time.Millisecond)
			e.begin(0)
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if n := len(tab.known[id(0)].ends); n != keptRuns {
			t.Errorf("%d runs of one are kept", n)
		}
	})
}

// TestEnded_Model has containers begin, get signals, end, be removed and be started again at random while the
// engine tells late, is cut off and is away. Whoever asks is answered once the run has ended and not before,
// and is never told that one has done its work which has not.
func TestEnded_Model(t *testing.T) {
	t.Parallel()
	for range 200 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { model(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

// life is one run, as it was.
type life struct {
	n, pid   int
	started  time.Time
	over     time.Time
	code     int
	signal   bool
	question *asked
}

func model(t *testing.T, random *rand.Rand) {
	var mu sync.Mutex
	e := newEngine(func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(3) > 0 {
			return 0
		}
		return time.Duration(random.IntN(1000)) * time.Millisecond
	})
	pick := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	tab := newTable(e, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var following sync.WaitGroup
	following.Go(func() { tab.follow(ctx) })
	defer func() { cancel(); following.Wait() }()
	var lives []*life
	current := map[int]*life{}
	for range 300 {
		n := pick(3)
		l := current[n]
		switch pick(12) {
		case 0, 1, 2:
			if l == nil {
				l = &life{n: n, started: e.begin(n)}
				e.mu.Lock()
				l.pid = e.all[id(n)].PID
				e.mu.Unlock()
				current[n], lives = l, append(lives, l)
			}
		case 3, 4, 5, 6:
			if l == nil || l.question != nil {
				continue
			}
			asking, stop := context.WithTimeout(ctx, findTimeout)
			r, ok, err := tab.find(asking, []string{id(n)}, func(_ string, pid int) bool { return pid == l.pid })
			stop()
			if err == nil && ok && !r.started.Equal(l.started) {
				t.Fatalf("%+v is known as %+v", *l, r)
			}
			if err == nil && ok {
				l.question = askEnding(ctx, tab, n, l.started)
			}
		case 7:
			if l != nil {
				e.signal(n)
				l.signal = true
			}
		case 8, 9:
			if l != nil {
				l.over, l.code = time.Now(), pick(2)
				e.die(n, l.code)
				delete(current, n)
			}
		case 10:
			if l == nil && pick(2) == 0 {
				e.remove(n)
			}
		case 11:
			switch pick(4) {
			case 0:
				e.leave()
				time.Sleep(time.Duration(pick(3000)) * time.Millisecond)
				e.comeBack()
			case 1:
				e.cut()
			}
		}
		time.Sleep(time.Microsecond + time.Duration(pick([]int{1, 20, 300, 2000}[pick(4)]))*time.Millisecond)
	}
	time.Sleep(2 * listEvery)
	synctest.Wait()
	answered := 0
	for _, l := range lives {
		if l.question == nil {
			continue
		}
		select {
		case <-l.question.done:
		default:
			if !l.over.IsZero() {
				t.Fatalf("nobody is told how %+v ended", *l)
			}
			continue
		}
		answered++
		got := l.question.ending
		if l.over.IsZero() || l.question.at.Before(l.over) {
			t.Fatalf("%+v was said to have ended: %+v", *l, *l.question)
		}
		if got.Known && got.Code != l.code || got.Done() && l.signal {
			t.Fatalf("%+v is said to have ended so: %+v", *l, got)
		}
	}
	if answered == 0 && len(lives) > 20 {
		t.Errorf("of %d runs nobody was asked", len(lives))
	}
}
