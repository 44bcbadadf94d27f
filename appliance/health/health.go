// Package health asks the parts of a node whether they still answer, for systemd's
// watchdog: a node that hangs is started again. No probe asks Docker, nor another machine:
// whether those are well is no reason to start this node again.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
)

// Probe asks one part of the node whether it still answers.
type Probe struct {
	Part string
	Ask  func(ctx context.Context) error
}

// Watched returns the part of a node that has probes be asked for as long as it runs; none where nobody
// wants to. watchdog is called with what asks them, and blocks until ctx ends.
func Watched(
	watchdog func(ctx context.Context, check func(context.Context) error), probes ...Probe,
) []lifecycle.Part {
	if watchdog == nil {
		return nil
	}
	check := CheckAll(probes)
	return []lifecycle.Part{lifecycle.Background("watchdog", func(ctx context.Context) error {
		watchdog(ctx, check)
		return nil
	})}
}

// CheckAll returns a check that asks all at once and returns the first error, at the latest when ctx ends:
// a part that hangs is named. It may not be called again before.
func CheckAll(probes []Probe) func(ctx context.Context) error {
	questions := make([]question, len(probes))
	return func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for i, p := range probes {
			group.Go(func() error {
				if err := questions[i].ask(ctx, p); err != nil {
					return fmt.Errorf("%s does not answer: %w", p.Part, err)
				}
				return nil
			})
		}
		return group.Wait()
	}
}

// question holds what a part was asked last.
type question struct {
	back chan struct{} // closed when the part comes back; nil before the first time
}

var errStuck = errors.New("it has not come back since it was asked before")

// ask asks a part, unless it has not come back since the last time.
func (q *question) ask(ctx context.Context, p Probe) error {
	if q.back != nil {
		select {
		case <-q.back:
		default:
			return errStuck
		}
	}
	back, answer := make(chan struct{}), make(chan error, 1)
	q.back = back
	go func() {
		defer close(back)
		answer <- p.Ask(ctx)
	}()
	select {
	case err := <-answer:
		<-back
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// longestRound is how long a look at Docker may take before the loop counts as hung. Of
// a Docker that hangs it is sure within 35 s: a ping and a question have their bounds.
const longestRound = 50 * time.Second

// hungError is of a part that has had all the time that it may need, so that there is nothing to
// wait for.
type hungError struct{ limit time.Duration }

func (e hungError) Error() string {
	return fmt.Sprintf("it has not come round for more than %s", e.limit)
}

// Hung implements notify.Hung.
func (hungError) Hung() bool { return true }

// LoopWatchdog knows how long a round of a loop takes. Its methods may be called at the
// same time.
type LoopWatchdog struct{ begun atomic.Pointer[time.Time] } // nil while the loop waits

func (r *LoopWatchdog) Begin() { now := time.Now(); r.begun.Store(&now) }

func (r *LoopWatchdog) End() { r.begun.Store(nil) }

// Check returns an error when the round takes too long.
func (r *LoopWatchdog) Check() error { return r.ask(failpoint.Round(longestRound)) }

func (r *LoopWatchdog) ask(limit time.Duration) error {
	if begun := r.begun.Load(); begun != nil && time.Since(*begun) > limit {
		return hungError{limit}
	}
	return nil
}

// Of the parts that every node has: the local API, which all commands go through, the
// registry for Docker, the loop that looks at this machine, and what others are locked out
// of while it hangs.

func API(socket string) Probe {
	local := api.NewClient(socket)
	return Probe{"local API", func(ctx context.Context) error { _, err := local.Config(ctx); return err }}
}

// RegistryPort returns a probe that needs any answer of the registry's port on loopback.
func RegistryPort(port uint16) Probe {
	return Probe{"registry's port", func(ctx context.Context) error { return askPort(ctx, port) }}
}

// Registry asks the registry itself, behind its port.
func Registry(images http.Handler) Probe {
	return Probe{"registry", func(ctx context.Context) error { return askHandler(ctx, images) }}
}

func Loop(name string, w *LoopWatchdog) Probe {
	return Probe{name, func(context.Context) error { return w.Check() }}
}

// Locks takes locks for a moment.
func Locks(what string, take func()) Probe {
	return Probe{what, func(context.Context) error { take(); return nil }}
}

// askPort asks under a name that is refused before it is found out who asks: for that
// Docker is asked.
func askPort(ctx context.Context, port uint16) error {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+"/v2/", nil)
	if err != nil {
		return err
	}
	req.Host, req.Close = "self-check.invalid", true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

func askHandler(ctx context.Context, images http.Handler) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/v2/", nil)
	if err != nil {
		return err
	}
	answer := statusWriter{header: http.Header{}}
	images.ServeHTTP(&answer, req)
	if answer.code != 0 && answer.code != http.StatusOK {
		return fmt.Errorf("it says %d %s", answer.code, http.StatusText(answer.code))
	}
	return nil
}

// statusWriter keeps of an answer only how it went.
type statusWriter struct {
	header http.Header
	code   int // 0: none was written
}

func (w *statusWriter) Header() http.Header         { return w.header }
func (w *statusWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *statusWriter) WriteHeader(code int)        { w.code = code }
