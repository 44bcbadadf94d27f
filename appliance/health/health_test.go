package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/server"
)

func TestCheckAll_NamesThePart(t *testing.T) {
	t.Parallel()
	well := func(context.Context) error { return nil }
	hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	if err := CheckAll([]Probe{{"queue", well}, {"registry", well}})(t.Context()); err != nil {
		t.Errorf("all is well, and the check says %v", err)
	}
	err := CheckAll([]Probe{
		{"queue", func(context.Context) error { return errors.New("refused") }},
		{"registry", hangs},
	})(t.Context())
	if err == nil || err.Error() != "queue does not answer: refused" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := CheckAll([]Probe{{"registry", hangs}})(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v of a part that hangs", err)
	}
}

// TestThroughout has one watchdog ask a node that is built again: its parts while they run, and between two runs
// whether it waits aloud.
func TestThroughout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ask func(context.Context) error
		runs, phases := 0, 0
		say, while, end := Throughout(t.Context(), func(string) { phases++ },
			func(ctx context.Context, check func(context.Context) error) { ask = check; runs++; <-ctx.Done() })
		synctest.Wait()
		sick := errors.New("the registry is sick")
		for range 2 {
			for range 20 {
				say("waiting for the other")
				time.Sleep(startLimit / 2)
				if err := ask(t.Context()); err != nil {
					t.Fatalf("of a start that waits: %v", err)
				}
			}
			time.Sleep(startLimit)
			if err := ask(t.Context()); err == nil {
				t.Error("a start that says nothing is well")
			}
			ctx, stop := context.WithCancel(t.Context())
			go while(ctx, func(context.Context) error { return sick })
			synctest.Wait()
			if err := ask(t.Context()); !errors.Is(err, sick) {
				t.Errorf("of the parts: %v", err)
			}
			stop()
			synctest.Wait()
			if err := ask(t.Context()); err != nil {
				t.Errorf("after the parts have stopped: %v", err)
			}
		}
		end()
		if runs != 1 || phases != 40 {
			t.Errorf("the watchdog was run %d times, and the node heard %d times", runs, phases)
		}
	})
	if _, while, end := Throughout(t.Context(), nil, nil); while != nil {
		t.Error("a watchdog runs that nobody has")
	} else {
		end()
	}
}

// TestCheckAll_PartThatIsDeaf does not heed its context.
func TestCheckAll_PartThatIsDeaf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release, asked := make(chan struct{}), 0
		check := CheckAll([]Probe{
			{"queue", func(context.Context) error { return nil }},
			{"registry", func(context.Context) error { asked++; <-release; return nil }},
		})
		says := func(want string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if got := fmt.Sprint(check(ctx)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			synctest.Wait()
		}
		says("registry does not answer: context deadline exceeded")
		says("registry does not answer: it has not come back since it was asked before")
		if asked != 1 {
			t.Errorf("it was asked %d times", asked)
		}
		close(release)
		synctest.Wait()
		says("<nil>")
	})
}

func TestAskHandler(t *testing.T) {
	t.Parallel()
	for code, well := range map[int]bool{0: true, http.StatusOK: true, http.StatusServiceUnavailable: false} {
		err := askHandler(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if code != 0 {
				w.WriteHeader(code)
			}
			w.Write([]byte("{}"))
		}))
		if (err == nil) != well {
			t.Errorf("%d gives %v", code, err)
		}
	}
}

// TestAskPort_DoesNotAskWho wants an answer before it is found out who is at
// the other end: that would be Docker.
func TestAskPort_DoesNotAskWho(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if server.IsLoopback(r.Host, port) || !strings.Contains(r.Host, "self-check") {
			t.Errorf("it asks as %q, which is let through", r.Host)
		}
		w.WriteHeader(http.StatusForbidden)
	})}
	go srv.Serve(ln)
	if err := askPort(t.Context(), port); err != nil {
		t.Errorf("the port answers, and the check says %v", err)
	}
	srv.Close()
	if err := askPort(t.Context(), port); err == nil {
		t.Error("nobody answers, and all is well")
	}
}

func TestRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r LoopWatchdog
		wait := func(d time.Duration, well bool, what string) {
			t.Helper()
			time.Sleep(d)
			err := r.ask(longestRound)
			hung, is := errors.AsType[interface {
				error
				Hung() bool
			}](err)
			if (err == nil) != well || is == well || is && !hung.Hung() {
				t.Errorf("%s: got %v", what, err)
			}
		}
		wait(time.Hour, true, "before the first round")
		r.Begin()
		wait(longestRound, true, "a round that is under way")
		wait(time.Second, false, "a round that hangs")
		r.End()
		wait(time.Hour, true, "between two rounds")
		r.Begin()
		wait(0, true, "a round that has just begun")
	})
}
