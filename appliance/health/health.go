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

// startLimit is how long a node that starts may say nothing before it counts as hung: what systemd gives its first
// start.
const startLimit = 5 * time.Minute

// Throughout has a watchdog run until end is called, also where a node is built again by a process that has run one:
// between two runs of its parts it is asked whether it has said what it is about lately, as at a first start. What
// waits for long says so again and again. It returns what is to be used in place of phase, which may be nil, and of
// watchdog.
func Throughout(
	ctx context.Context, phase func(string), watchdog func(context.Context, func(context.Context) error),
) (say func(string), while func(context.Context, func(context.Context) error), end func()) {
	s := &starts{limit: startLimit}
	s.said.Store(time.Now().UnixNano())
	say = func(text string) {
		s.said.Store(time.Now().UnixNano())
		if phase != nil {
			phase(text)
		}
	}
	if watchdog == nil {
		return say, nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watchdog(ctx, s.ask)
	}()
	return say, s.while, func() { cancel(); <-ended }
}

// starts is what is asked of a node whether its parts run or not.
type starts struct {
	limit time.Duration
	said  atomic.Int64                                // when it last said what it is about, in ns
	parts atomic.Pointer[func(context.Context) error] // asks its parts; nil while they do not run
}

func (s *starts) ask(ctx context.Context) error {
	if check := s.parts.Load(); check != nil {
		return (*check)(ctx)
	}
	if silent := time.Since(time.Unix(0, s.said.Load())); silent > s.limit {
		return fmt.Errorf("the start has said nothing for %s", silent.Round(time.Second))
	}
	return nil
}

// while has the parts be asked until ctx ends.
func (s *starts) while(ctx context.Context, check func(context.Context) error) {
	s.parts.Store(&check)
	<-ctx.Done()
	s.said.Store(time.Now().UnixNano())
	s.parts.Store(nil)
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
