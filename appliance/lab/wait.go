package lab

import (
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// WaitFor calls check until it returns nil. After max it fails the test with
// what was waited for and the last error.
func WaitFor(t frame.TB, max time.Duration, what string, check func() error) {
	t.Helper()
	if err := frame.Poll(max, check); err != nil {
		t.Fatalf("waited %s for %s: %v", max, what, err)
	}
}
