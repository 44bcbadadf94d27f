package lab

import "time"

// pollInterval is the pause between two looks. A look is often a command on a
// host, which costs a few milliseconds.
const pollInterval = 25 * time.Millisecond

// WaitFor calls check until it returns nil. After max it fails the test with
// what was waited for and the last error.
func WaitFor(t TB, max time.Duration, what string, check func() error) {
	t.Helper()
	if err := poll(max, check); err != nil {
		t.Fatalf("waited %s for %s: %v", max, what, err)
	}
}

// poll calls check until it returns nil, and at least once. After max it returns
// the last error.
func poll(max time.Duration, check func() error) error {
	deadline := time.Now().Add(max)
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pollInterval)
	}
}
