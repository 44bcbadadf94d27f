package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestRepeat wants each answer to be shown once it is there, the last good one where there is
// none, and an end with the context.
func TestRepeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*watchEvery+time.Millisecond)
		defer cancel()
		asked := 0
		var shown []string
		err := Repeat(ctx, watchEvery, 0, func() (int, error) {
			if asked++; asked == 2 {
				return 0, errors.New("away")
			}
			return asked, nil
		}, func(v int, err error) error {
			shown = append(shown, fmt.Sprint(v, err))
			return nil
		})
		if want := []string{"0 <nil>", "1 <nil>", "1 away", "3 <nil>"}; err != nil || !slices.Equal(shown, want) {
			t.Errorf("shown are %q, %v", shown, err)
		}
	})
	gone := errors.New("nobody reads")
	if err := Repeat(t.Context(), watchEvery, 0, nil, func(int, error) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
