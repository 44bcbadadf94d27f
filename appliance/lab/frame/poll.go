package frame

import "time"

// PollInterval is the pause between two looks. A look is often a command on a
// host, which costs a few milliseconds.
const PollInterval = 25 * time.Millisecond

// Poll calls check until it returns nil, and at least once. After max it returns
// the last error.
func Poll(max time.Duration, check func() error) error {
	deadline := time.Now().Add(max)
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(PollInterval)
	}
}
