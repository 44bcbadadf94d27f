package holder

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/holder/ask"
	"github.com/crawlbox/crawlbox/appliance/sockowner"
)

// TestContainerIDs reads the groups of processes as they are with both versions of cgroups, by Docker with
// and without systemd, in a container within another, and with names that are none.
func TestContainerIDs(t *testing.T) {
	t.Parallel()
	a, b := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	for groups, want := range map[string][]string{
		"0::/system.slice/docker-" + a + ".scope\n":                                                         {a},
		"12:memory:/docker/" + a + "\n11:cpu,cpuacct:/docker/" + a + "\n1:name=systemd:/docker/" + a + "\n": {a},
		"9:name=systemd:/x/init/payload\n8:pids:/\n0::/x/docker-" + a + ".scope/init.scope\n":               {a},
		"0::/docker/" + a + "/docker/" + b + "\n":                                                           {a, b},
		"0::/system.slice/docker-" + a + ".scope/docker-" + b + ".scope":                                    {a, b},
		"0::/../" + a:          {a},
		"0::/user.slice\n":     nil,
		"0::/" + a + "0\n":     nil,
		"0::/" + a[1:] + "\n":  nil,
		strings.ToUpper(a):     nil,
		"":                     nil,
		"0::/x" + a + "x/" + b: {a, b},
	} {
		if got := containerIDs(groups); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", groups, got, want)
		}
	}
}

func FuzzContainerIDs(f *testing.F) {
	f.Add("0::/system.slice/docker-" + strings.Repeat("a", 64) + ".scope")
	f.Fuzz(func(t *testing.T, groups string) {
		for _, id := range containerIDs(groups) {
			if !(ask.Run{ID: id}).Valid() || !strings.Contains(groups, id) {
				t.Errorf("%q is one of %q", id, groups)
			}
		}
	})
}

// TestLook_NoContainer has connections of this process, which is in no container of Docker's.
func TestLook_NoContainer(t *testing.T) {
	t.Parallel()
	if len(groupsOf(os.Getpid())) > 0 {
		t.Skip("this test runs in a container")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	end := sockowner.End{
		Local:  conn.LocalAddr().(*net.TCPAddr).AddrPort(),
		Remote: conn.RemoteAddr().(*net.TCPAddr).AddrPort(),
	}
	sights, all := look([]sockowner.End{end})
	if sights[0].pid != 0 || sights[0].err != nil {
		t.Errorf("it is %+v", sights[0])
	}
	if _, ok := all.of[os.Getpid()]; ok {
		t.Error("it is among those in containers")
	}
}

// TestWho has the kernel say that this process has a connection, as one of a container.
func TestWho(t *testing.T) {
	t.Parallel()
	e := newEngine(nil)
	f := newFinder(newTable(e, slog.New(slog.DiscardHandler)))
	began, ok := sockowner.Begun(os.Getpid())
	if !ok {
		t.Fatal("this process is not there")
	}
	started := e.begin(1)
	e.begin(2)
	e.all[id(1)].PID, e.all[id(1)].Service, e.all[id(1)].Task = os.Getpid(), "spider", "task"
	in := func(groups ...string) func([]sockowner.End) ([]sight, processes) {
		return func(ends []sockowner.End) ([]sight, processes) {
			return make([]sight, len(ends)), processes{map[int]process{os.Getpid(): {began, groups}}}
		}
	}
	found := func(groups ...string) func([]sockowner.End) ([]sight, processes) {
		return func(ends []sockowner.End) ([]sight, processes) {
			_, all := in(groups...)(ends)
			return slices.Repeat([]sight{{pid: os.Getpid()}}, len(ends)), all
		}
	}
	holder := &ask.Holder{Run: ask.Run{ID: id(1), Started: started.UnixNano()}, Name: "c1", Service: "spider",
		Task: "task"}
	for name, c := range map[string]struct {
		look  func([]sockowner.End) ([]sight, processes)
		since time.Duration
		want  *ask.Holder
	}{
		"it is":                         {found(id(1)), began, holder},
		"in one that Docker knows not":  {found(id(3), id(1)), began, holder},
		"none of Docker's":              {found(id(3)), began, nil},
		"nobody":                        {in(id(1)), began, nil},
		"the connection was before":     {found(id(1)), began - 10*time.Millisecond, nil},
		"its first process is not seen": {found(id(2)), began, nil},
	} {
		f.look = c.look
		got, err := f.who(t.Context(), ask.Connection{Since: c.since})
		if err != nil || (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	e.leave()
	f.look = found(id(1))
	if got, err := f.who(t.Context(), ask.Connection{Since: began}); err != nil || got == nil || *got != *holder {
		t.Errorf("one that is known, while Docker is away: %+v, %v", got, err)
	}
	f.look = found(id(3))
	if got, err := f.who(t.Context(), ask.Connection{Since: began}); err == nil || got != nil {
		t.Errorf("one that is not, while Docker is away: %+v, %v", got, err)
	}
}

// TestFinder_Flood has many ask without end: looks have their pace, and rest after one that takes long.
func TestFinder_Flood(t *testing.T) {
	t.Parallel()
	for name, takes := range map[string]time.Duration{"quick": 0, "slow": 50 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			f := newFinder(nil)
			var looks, most atomic.Int64
			f.look = func(ends []sockowner.End) ([]sight, processes) {
				looks.Add(1)
				most.Store(max(most.Load(), int64(len(ends))))
				time.Sleep(takes)
				return make([]sight, len(ends)), processes{}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var wg sync.WaitGroup
			for range 3 * lookBatch {
				wg.Go(func() {
					for ctx.Err() == nil {
						if h, err := f.who(ctx, ask.Connection{}); h != nil || err != nil && ctx.Err() == nil {
							t.Errorf("%s: %v, %v", name, h, err)
							return
						}
					}
				})
			}
			wg.Wait()
			pace := lookPace + takes
			if takes > 0 {
				pace = (1 + lookRest) * takes
			}
			if n := looks.Load(); n > int64(10*time.Second/pace)+1 {
				t.Errorf("%s: %d looks in 10 s", name, n)
			}
			if most.Load() > lookBatch {
				t.Errorf("%s: one look was for %d connections", name, most.Load())
			}
			time.Sleep(time.Second)
		})
	}
}

// TestFinder_Queue: those who wait are bounded.
func TestFinder_Queue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFinder(nil)
		f.look = func(ends []sockowner.End) ([]sight, processes) {
			time.Sleep(time.Second)
			return make([]sight, len(ends)), processes{}
		}
		var busy atomic.Int64
		var wg sync.WaitGroup
		for range 2*lookQueue + lookBatch {
			wg.Go(func() {
				if _, err := f.who(t.Context(), ask.Connection{Remote: netip.AddrPort{}}); errors.Is(err, errBusy) {
					busy.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := busy.Load(); n < lookQueue {
			t.Errorf("%d of %d are refused", n, 2*lookQueue+lookBatch)
		}
		wg.Wait()
		time.Sleep(lookRest * time.Second)
	})
}
