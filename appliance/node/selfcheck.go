package node

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

// probe asks one part of the node whether it still answers. None asks Docker, nor
// another machine: whether those are well is no reason to start this node again.
type probe struct {
	part string
	ask  func(ctx context.Context) error
}

// checkAll asks all at once, and returns the first error, at the latest when ctx ends:
// a part that hangs is named. It may not be called again before.
func checkAll(probes []probe) func(ctx context.Context) error {
	questions := make([]question, len(probes))
	return func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for i, p := range probes {
			group.Go(func() error {
				if err := questions[i].ask(ctx, p); err != nil {
					return fmt.Errorf("%s does not answer: %w", p.part, err)
				}
				return nil
			})
		}
		return group.Wait()
	}
}

// question is what a part was asked last.
type question struct {
	back chan struct{} // closed when the part comes back; nil before the first time
}

var errStuck = errors.New("it has not come back since it was asked before")

// ask asks a part, unless it has not come back since the last time.
func (q *question) ask(ctx context.Context, p probe) error {
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
		answer <- p.ask(ctx)
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
const longestRound = time.Minute

// round is one of a loop's rounds. Its methods may be called at the same time.
type round struct{ begun atomic.Pointer[time.Time] } // nil while the loop waits

func (r *round) begin() { now := time.Now(); r.begun.Store(&now) }

func (r *round) end() { r.begun.Store(nil) }

// ask returns an error when the round takes longer than limit.
func (r *round) ask(limit time.Duration) error {
	if begun := r.begun.Load(); begun != nil && time.Since(*begun) > limit {
		return fmt.Errorf("it has not come round for more than %s", limit)
	}
	return nil
}

// probes are those that every node has: the local API, which all commands go
// through, the registry for Docker, the loop that looks at this machine, and what
// others are locked out of while it hangs: the list of the nodes and the cache.
func (g *ground) probes(images http.Handler, locks func()) []probe {
	local := api.NewClient(g.cfg.Socket)
	return []probe{
		{"local API", func(ctx context.Context) error { _, err := local.Config(ctx); return err }},
		{"registry's port", g.askPort},
		{"registry", func(ctx context.Context) error { return askHandler(ctx, images) }},
		{"watch", func(context.Context) error { return g.round.ask(failpoint.Round(longestRound)) }},
		{"what is known of the cluster", func(context.Context) error { locks(); return nil }},
	}
}

// askPort wants any answer of the registry's port on loopback. It asks under a name
// that is refused before it is found out who asks: for that Docker is asked.
func (g *ground) askPort(ctx context.Context) error {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), g.cfg.Registry.Port)
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

// askHandler asks the registry itself, behind its port.
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

// watchdog runs beside the other parts, where somebody wants to hear that they
// answer.
func (g *ground) watchdog(probes []probe) []lifecycle.Part {
	if g.opts.Watchdog == nil {
		return nil
	}
	check := checkAll(probes)
	return []lifecycle.Part{{Name: "watchdog", Component: background(func(ctx context.Context) error {
		g.opts.Watchdog(ctx, check)
		return nil
	})}}
}
