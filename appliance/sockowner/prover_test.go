package sockowner

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestProver_Real(t *testing.T) {
	t.Parallel()
	pid, c := child(t, listen(t, "tcp", "127.0.0.1:0"), 0)
	local, remote := peer(c)
	away := errors.New("the engine is away")
	for name, tc := range map[string]struct {
		who           []int
		err           error
		local, remote netip.AddrPort
		want          bool
		wantErr       error
	}{
		"the child":                     {[]int{pid}, nil, local, remote, true, nil},
		"the child beside us":           {[]int{os.Getpid(), pid}, nil, local, remote, true, nil},
		"our own end":                   {[]int{os.Getpid()}, away, remote, local, true, nil},
		"not ours, and another is away": {[]int{os.Getpid()}, away, local, remote, false, away},
		"not ours":                      {[]int{os.Getpid()}, nil, local, remote, false, nil},
		"nobody's":                      {[]int{1 << 30}, nil, local, remote, false, nil},
		"no such connection":            {[]int{pid}, nil, local, local, false, ErrNoSocket},
	} {
		p := NewProver(func(context.Context) ([]int, error) { return tc.who, tc.err })
		for range 3 { // asked again, it knows who
			if got, err := p.Holds(t.Context(), tc.local, tc.remote); got != tc.want || !errors.Is(err, tc.wantErr) {
				t.Errorf("%s: %v, %v; want %v, %v", name, got, err, tc.want, tc.wantErr)
			}
		}
	}
}

// TestProver_Flood: whoever asks without end makes no more looks and no more questions
// to the engine than the pace allows, and others that ask at the same time are answered soon.
func TestProver_Flood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var looks, asked, most atomic.Int64
		docker := netip.MustParseAddrPort("127.0.0.1:1")
		p := NewProver(func(context.Context) ([]int, error) { asked.Add(1); return []int{os.Getpid()}, nil })
		p.look = func(_ []int, conns []connection) []verdict {
			looks.Add(1)
			most.Store(max(most.Load(), int64(len(conns))))
			time.Sleep(5 * time.Millisecond)
			v := make([]verdict, len(conns))
			for i, c := range conns {
				v[i].holds = c.local == docker
			}
			return v
		}
		const seconds = 10
		ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for n := range 2000 {
			wg.Go(func() {
				spider := netip.AddrPortFrom(netip.IPv6Loopback(), uint16(1000+n))
				for ctx.Err() == nil {
					if own, err := p.Holds(ctx, spider, spider); own || err != nil && ctx.Err() == nil {
						t.Errorf("a spider: %v, %v", own, err)
						return
					}
				}
			})
		}
		for range seconds - 1 {
			begun := time.Now()
			if own, err := p.Holds(t.Context(), docker, docker); !own || err != nil ||
				time.Since(begun) > 10*proverPace {
				t.Errorf("Docker beside them: %v, %v, after %s", own, err, time.Since(begun))
			}
			time.Sleep(time.Second)
		}
		wg.Wait()
		time.Sleep(time.Second) // until it rests
		if n := looks.Load(); n > seconds*int64(time.Second/proverPace)+1 {
			t.Errorf("%d looks in %d s", n, seconds)
		}
		if n := asked.Load(); n > seconds+1 {
			t.Errorf("the engine was asked %d times in %d s", n, seconds)
		}
		if most.Load() > proverBatch {
			t.Errorf("one look was for %d connections", most.Load())
		}
	})
}

// TestProver_Queue: the waiting are bounded, and a request that no longer waits is not
// looked for.
func TestProver_Queue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		var looked atomic.Int64
		p := NewProver(func(context.Context) ([]int, error) { <-stuck; return nil, nil })
		p.look = func(_ []int, conns []connection) []verdict {
			looked.Add(int64(len(conns)))
			return make([]verdict, len(conns))
		}
		var busy, over atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 2 * proverQueue {
			wg.Go(func() {
				switch _, err := p.Holds(ctx, netip.AddrPort{}, netip.AddrPort{}); {
				case errors.Is(err, ErrBusy):
					busy.Add(1)
				case errors.Is(err, context.Canceled):
					over.Add(1)
				}
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		close(stuck)
		synctest.Wait()
		time.Sleep(time.Second)
		if busy.Load() < proverQueue-proverBatch || over.Load() == 0 || looked.Load() > proverBatch {
			t.Errorf("%d were refused, %d gave up, %d were looked for", busy.Load(), over.Load(), looked.Load())
		}
	})
}

// TestProver_AnotherProcess: the number of a process that ended is not believed, and
// another engine is found at once.
func TestProver_AnotherProcess(t *testing.T) {
	t.Parallel()
	h, asked := holders{}, 0
	who := func(context.Context) ([]int, error) { asked++; return []int{os.Getpid()}, nil }
	for range 3 {
		if pids, err := h.pids(who); err != nil || len(pids) != 1 {
			t.Fatal(pids, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times for one that lives", asked)
	}
	h.named[0].begun = "0" // as if its number were another's now
	if _, err := h.pids(who); err != nil || asked != 2 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	h.named[0] = process{1 << 30, "7"}
	if _, err := h.pids(who); err != nil || asked != 3 {
		t.Errorf("asked %d times, %v", asked, err)
	}
}
