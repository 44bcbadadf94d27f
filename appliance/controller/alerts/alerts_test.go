package alerts

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/configs"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// world is a document of the state, what there is to see, and a receiver.
type world struct {
	mu     sync.Mutex
	data   []byte
	writes int
	broken bool // the state can't be written
	now    time.Time
	facts  []alerts.Fact
	blind  error
	down   bool
	got    []string
	calls  int
	c      configs.Alerts
	after  func() // something was sent
}

func (w *world) Load() ([]byte, error) {
	if w.data == nil {
		return nil, fs.ErrNotExist
	}
	return w.data, nil
}

func (w *world) Update(_ string, fn func([]byte) ([]byte, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken {
		return errors.New("there is no quorum")
	}
	next, err := fn(w.data)
	if err == nil && string(next) != string(w.data) {
		w.data, w.writes = next, w.writes+1
	}
	return err
}

func (w *world) leads() *Controller {
	return New(Options{
		Store:  alerts.NewStore(w),
		Config: func() (configs.Alerts, error) { return w.c, nil },
		See: func(context.Context, configs.Alerts, alerts.State) (alerts.Seen, []alerts.Queue, error) {
			return alerts.Seen{Facts: w.facts}, []alerts.Queue{}, w.blind
		},
		Send: func(_ context.Context, c configs.Channel, m alerts.Message) *alerts.Failure {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.down {
				return &alerts.Failure{Why: "connection refused"}
			}
			w.got = append(w.got, c.Name+" "+m.ID)
			if w.after != nil {
				w.after()
			}
			return nil
		},
		Call: func(context.Context, configs.Deadman) error { w.calls++; return nil },
		Now:  func() time.Time { return w.now },
		Log:  slog.New(slog.DiscardHandler),
	})
}

func newWorld() *world {
	c := configs.Default().Alerts
	c.Channels = []configs.Channel{{Name: "mail", Type: configs.SMTP}, {Name: "ops", Type: configs.Slack}}
	return &world{now: noon, c: c, facts: []alerts.Fact{{Rule: configs.NodeDown, Subject: "h2", Severity: "bad"}}}
}

// pass has somebody lead for a while.
func (w *world) pass(t *testing.T, k *Controller, by time.Duration) {
	t.Helper()
	for until := w.now.Add(by); w.now.Before(until); w.now = w.now.Add(every) {
		if err := errors.Join(k.look(t.Context()), k.deliver(t.Context())); err != nil && !w.broken {
			t.Fatal(err)
		}
	}
}

// TestLeaders: another leader goes on where the last one stopped, and tells nothing again.
func TestLeaders(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.pass(t, w.leads(), 20*time.Second)
	if len(w.got) > 0 {
		t.Errorf("told at once: %q", w.got)
	}
	w.pass(t, w.leads(), 5*time.Minute)
	w.pass(t, w.leads(), 5*time.Minute)
	if len(w.got) != 2 || !strings.HasPrefix(slices.Sorted(slices.Values(w.got))[0], "mail ") {
		t.Errorf("told %q", w.got)
	}
	writes := w.writes
	w.pass(t, w.leads(), time.Hour)
	if w.writes > writes {
		t.Errorf("the state was written %d times more, though nothing has changed", w.writes-writes)
	}
}

// TestUnnoted: what was sent and could not be noted is not sent again by who knows it.
func TestUnnoted(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.after = func() { w.broken = true }
	k := w.leads()
	w.pass(t, k, 10*time.Minute)
	w.broken, w.after = false, nil
	w.pass(t, k, 10*time.Minute)
	if len(w.got) != 2 {
		t.Errorf("told %q", w.got)
	}
	is, err := k.Store.Load()
	if err != nil || len(is.Messages) > 0 {
		t.Errorf("%+v, %v wait", is.Messages, err)
	}
}

// TestDown: while a receiver is down, another gets what it should, and the state is written rarely.
func TestDown(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.down = true
	k := w.leads()
	w.pass(t, k, 10*time.Minute)
	if w.writes > 40 {
		t.Errorf("the state was written %d times", w.writes)
	}
	w.down = false
	w.pass(t, k, 5*time.Minute)
	if len(w.got) != 2 {
		t.Errorf("told %q", w.got)
	}
}

// TestNoChannel: without channels nothing is known, and nothing is written.
func TestNoChannel(t *testing.T) {
	t.Parallel()
	w := newWorld()
	channels := w.c.Channels
	w.c.Channels = nil
	w.pass(t, w.leads(), time.Hour)
	if w.writes > 0 {
		t.Errorf("the state was written %d times", w.writes)
	}
	w.c.Channels = channels
	w.pass(t, w.leads(), 10*time.Second)
	w.c.Channels = nil
	w.pass(t, w.leads(), 10*time.Second)
	if w.data != nil || len(w.got) > 0 {
		t.Errorf("after the channels are gone, there is %s; told %q", w.data, w.got)
	}
}

// TestDeadman: it is called while the cluster is seen, and alerts can be told.
func TestDeadman(t *testing.T) {
	t.Parallel()
	w := newWorld()
	k := w.leads()
	called := func() bool {
		n := w.calls
		k.call(t.Context(), w.c)
		return w.calls > n
	}
	if called() {
		t.Error("it is called before anything was seen")
	}
	w.pass(t, k, time.Minute)
	if !called() || k.Called().Why != "" || !k.Called().At.Equal(w.now) {
		t.Errorf("all is well: %+v", k.Called())
	}
	w.blind = errors.New("docker is away")
	w.now = w.now.Add(wellFor + time.Second)
	if err := k.look(t.Context()); err == nil || called() {
		t.Errorf("blind: %v, %+v", err, k.Called())
	}
	w.blind, w.down = nil, true
	w.facts = append(w.facts, alerts.Fact{Rule: configs.NodeDown, Subject: "h3"})
	w.pass(t, k, maxFailing+5*time.Minute)
	if called() || !strings.Contains(k.Called().Why, "can't be told on mail") {
		t.Errorf("nobody can be told: %+v", k.Called())
	}
}
