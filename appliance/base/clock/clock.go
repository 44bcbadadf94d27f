// Package clock waits. It ends with a context, as all waiting in crawlbox has to, and says so
// at each place in a word.
package clock

import (
	"context"
	"time"
)

// Sleep waits for d. It returns at once when ctx ends, with its error.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
