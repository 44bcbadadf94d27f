package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder records what the parts of a test did, in order.
type recorder struct {
	mu      sync.Mutex
	entries []string
}

func (d *recorder) write(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, s)
}

func (d *recorder) part(name string) Part {
	return Part{name, Func(func(ctx context.Context, ready func()) error {
		d.write("+" + name)
		ready()
		<-ctx.Done()
		d.write("-" + name)
		return nil
	})}
}

func failing(name string, err error, after <-chan struct{}) Part {
	return Part{name, Func(func(ctx context.Context, ready func()) error {
		if after != nil {
			ready()
			<-after
		}
		return err
	})}
}

func TestRun_StartsInOrderAndStopsInReverse(t *testing.T) {
	var d recorder
	ctx, cancel := context.WithCancel(t.Context())
	err := Run(ctx, slog.New(slog.DiscardHandler), cancel, d.part("a"), d.part("b"), d.part("c"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"+a", "+b", "+c", "-c", "-b", "-a"}
	if !slices.Equal(d.entries, want) {
		t.Fatalf("got %v, want %v", d.entries, want)
	}
}

func TestRun_PartFailsBeforeReady(t *testing.T) {
	var d recorder
	boom := errors.New("boom")
	err := Run(t.Context(), slog.New(slog.DiscardHandler), func() { d.write("ready") },
		d.part("a"), failing("b", boom, nil), d.part("c"))
	if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "b: ") {
		t.Fatalf("got %v", err)
	}
	if want := []string{"+a", "-a"}; !slices.Equal(d.entries, want) {
		t.Fatalf("got %v, want %v", d.entries, want)
	}
}

func TestRun_PartFailsLater(t *testing.T) {
	boom, ready := errors.New("boom"), make(chan struct{})
	var d recorder
	err := Run(t.Context(), slog.New(slog.DiscardHandler), func() { close(ready) }, d.part("a"),
		failing("b", boom, ready))
	if !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if want := []string{"+a", "-a"}; !slices.Equal(d.entries, want) {
		t.Fatalf("got %v, want %v", d.entries, want)
	}
}

func TestRun_PartThatEndsByItselfIsAnError(t *testing.T) {
	ready := make(chan struct{})
	err := Run(t.Context(), slog.New(slog.DiscardHandler), func() { close(ready) }, failing("a", nil, ready))
	if err == nil || !strings.Contains(err.Error(), "a ended by itself") {
		t.Fatalf("got %v", err)
	}
}
