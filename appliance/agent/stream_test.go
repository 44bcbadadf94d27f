package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// endless is what a node sends that wants the manager's memory.
type endless struct{ sent atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	e.sent.Add(int64(len(p)))
	return len(p), nil
}

func TestStream_Endless(t *testing.T) {
	t.Parallel()
	var e endless
	most := pullCall.MaxLine
	err := pullCall.read(bound.NewStream(&e, most), func(swarm.Pulled) { t.Error("it said something") })
	if !errors.Is(err, bound.ErrTooLong) || e.sent.Load() > int64(4*most) {
		t.Errorf("%d bytes were read: %v", e.sent.Load(), err)
	}
	long, err := json.Marshal(pullLine{Error: strings.Repeat("x", most/2)})
	if err != nil {
		t.Fatal(err)
	}
	err = pullCall.read(bound.NewStream(strings.NewReader(string(long)), most), func(swarm.Pulled) {})
	if err == nil || len(err.Error()) > 1<<10 {
		t.Errorf("an error of %d bytes is passed on", len(fmt.Sprint(err)))
	}
}

// TestStream_Lives: a node that works on says so, one that is silent is given up.
func TestStream_Lives(t *testing.T) {
	t.Parallel()
	stream := pullCall
	stream.Every, stream.Quiet = 20*time.Millisecond, 500*time.Millisecond
	log := slog.New(slog.DiscardHandler)
	works := stream.Handler(log, func(ctx context.Context, _ Peer, _ pullRequest, see func(swarm.Pulled)) error {
		see(swarm.Pulled{Bytes: 1, Total: 2})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * stream.Quiet):
			return nil
		}
	})
	gone := make(chan struct{})
	silent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	for name, h := range map[string]http.Handler{"works": works, "silent": silent} {
		c := newCluster(t, func(*cluster) http.Handler { return h })
		seen := 0
		err := stream.Do(t.Context(), c.peers, c.there, pullRequest{anImage}, func(p swarm.Pulled) { seen++ })
		switch {
		case name == "works" && (err != nil || seen < 5):
			t.Errorf("a node that works was heard %d times: %v", seen, err)
		case name == "silent" && (!errors.Is(err, deploy.ErrUnanswered) ||
			!strings.Contains(err.Error(), "the node went silent: no word from it for 500ms")):
			t.Errorf("a silent node: %v", err)
		}
	}
	<-gone
}

// TestStream_Unanswered: what a node says itself is one thing, and that it did not come to say it
// another.
func TestStream_Unanswered(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		as     error // nil: it is neither
	}{
		"it is busy": {
			func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not now", http.StatusServiceUnavailable) },
			deploy.ErrUnanswered,
		},
		"it breaks off": {
			func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"bytes":1}`) },
			deploy.ErrUnanswered,
		},
		"it does not know the question": {http.NotFound, nil},
		"it says why not": {
			func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"error":"no space left"}`) }, nil,
		},
	} {
		c := newCluster(t, func(*cluster) http.Handler { return tc.answer })
		err := pullCall.Do(t.Context(), c.peers, c.there, pullRequest{anImage}, func(swarm.Pulled) {})
		for _, kind := range []error{deploy.ErrUnanswered, deploy.ErrNotRunning, deploy.ErrNoAgent} {
			if err == nil || errors.Is(err, kind) != errors.Is(tc.as, kind) {
				t.Errorf("%s: got %v, is it %v: %v", name, err, kind, errors.Is(err, kind))
			}
		}
	}
	c := newCluster(t, func(*cluster) http.Handler { return http.NotFoundHandler() })
	c.stop()
	err := pullCall.Do(t.Context(), c.peers, c.there, pullRequest{anImage}, func(swarm.Pulled) {})
	if !errors.Is(err, deploy.ErrNotRunning) || strings.Contains(err.Error(), "https://") {
		t.Errorf("where nothing listens: %v", err)
	}
}
