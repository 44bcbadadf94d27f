package controller_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/controller"
)

// rounds runs a loop for a while and returns when it had rounds, since its start.
func rounds(t *testing.T, loop *controller.Loop, at *[]time.Duration, kicks ...time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	for _, after := range kicks {
		time.AfterFunc(after, loop.Again)
	}
	if err := loop.Run(ctx); err != nil {
		t.Error(err)
	}
	var text []string
	for _, d := range *at {
		text = append(text, d.String())
	}
	return strings.Join(text, " ")
}

func TestLoop(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first, every time.Duration
		fails        int // so many rounds fail, from the first on
		kicks        []time.Duration
		want         string
	}{
		"once, and when it is kicked": {0, 0, 0, []time.Duration{30 * time.Second}, "0s 30s"},
		"every so often":              {10 * time.Second, 40 * time.Second, 0, nil, "10s 50s 1m30s"},
		"a failed one again, more and more rarely": {
			0, 0, 5, nil, "0s 2s 6s 14s 22s 30s",
		},
		"a kick begins anew": {0, 0, 4, []time.Duration{7 * time.Second}, "0s 2s 6s 7s 9s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				var at []time.Duration
				loop := controller.New("test", func(context.Context) error {
					if at = append(at, time.Since(begun)); len(at) <= tc.fails {
						return errors.New("not yet")
					}
					return nil
				})
				loop.First, loop.Every, loop.Retry, loop.RetryMost = tc.first, tc.every, 2*time.Second, 8*time.Second
				if got := rounds(t, loop, &at, tc.kicks...); got != tc.want {
					t.Errorf("rounds at %s, want %s", got, tc.want)
				}
			})
		})
	}
}

// Kicks during a round become a single one after it.
func TestLoop_KicksAreJoined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var at []time.Duration
		var loop *controller.Loop
		loop = controller.New("test", func(context.Context) error {
			at = append(at, time.Since(begun))
			if len(at) == 1 {
				for range 100 {
					loop.Again()
				}
				time.Sleep(5 * time.Second)
			}
			return nil
		})
		if got := rounds(t, loop, &at); got != "0s 5s" {
			t.Errorf("rounds at %s", got)
		}
	})
}

func TestRound(t *testing.T) {
	t.Parallel()
	var taken []string
	bad := errors.New("bad")
	round := controller.Round(
		func(context.Context) (string, error) { return "a bad c", nil },
		strings.Fields,
		func(_ context.Context, action string) error {
			taken = append(taken, action)
			if action == "bad" {
				return bad
			}
			return nil
		},
	)
	if err := round(t.Context()); !errors.Is(err, bad) || !slices.Equal(taken, []string{"a", "bad", "c"}) {
		t.Errorf("got %v after %v", err, taken)
	}
	blind := controller.Round(func(context.Context) (string, error) {
		return "a", bad
	}, strings.Fields, func(context.Context, string) error {
		t.Error("it acts on what it has not seen")
		return nil
	})
	if err := blind(t.Context()); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
}
