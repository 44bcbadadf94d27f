package tasklog

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

var errCut = errors.New("cut off")

// TestKeep_AnyCut reads logs of all kinds, cut off at any line and taken up again: no line comes twice, and none is
// missing.
func TestKeep_AnyCut(t *testing.T) {
	t.Parallel()
	seeds(t, 60, func(t *testing.T, r *rand.Rand) {
		w := someLog(r, "a")
		d := &docker{logs: map[string]*written{"a": w}, rand: r}
		var got []Line
		var at Position
		for {
			left := r.IntN(6)
			err := keepAll(t, d, at, len(w.lines)-len(got), func(line Line, after Position) error {
				if left--; left < 0 {
					return errCut
				}
				got, at = append(got, line), after
				return nil
			})
			if len(got) == len(w.lines) {
				break
			}
			if !errors.Is(err, errCut) {
				t.Fatalf("after %d of %d lines: %v", len(got), len(w.lines), err)
			}
		}
		sameLines(t, "a", got, w.lines)
	})
}

// keepAll keeps a log until so many lines have come.
func keepAll(t *testing.T, d *docker, from Position, n int, emit func(Line, Position) error) error {
	t.Helper()
	if n == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	missed := func(time.Time) { t.Error("messages are said to be missing") }
	return Keep(ctx, d, "a", from, -1, missed, func(line Line, after Position) error {
		err := emit(line, after)
		if n--; n == 0 {
			cancel()
		}
		return err
	})
}

// TestKeep_Rotated: where Docker has dropped the message at which it stopped, that is said, and nothing that is there
// is taken for known.
func TestKeep_Rotated(t *testing.T) {
	t.Parallel()
	w := &written{}
	for i := range 10 {
		w.write(Stdout, epoch.Add(time.Duration(i)), "line", func() {})
	}
	d := &docker{logs: map[string]*written{"a": w}, rand: rand.New(rand.NewPCG(1, 2))}
	before := epoch.Add(-time.Hour)
	from := Position{Latest: before, Same: 1, Out: 5, Last: before}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, said := 0, 0
	err := Keep(ctx, d, "a", from, -1, func(time.Time) { said++ }, func(Line, Position) error {
		if n++; n == 10 {
			cancel()
		}
		return nil
	})
	if n != 10 || said != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d lines came, it was said %d times that some are missing: %v", n, said, err)
	}
}
