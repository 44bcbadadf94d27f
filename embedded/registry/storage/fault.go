package storage

import (
	"context"
	"sync"
)

// Fault carries the news of a full disk from the driver up to the request:
// distribution turns all errors of a driver into one UNKNOWN, which Docker
// retries for minutes.
type Fault struct {
	mu   sync.Mutex
	path string // the file that could not be written, as distribution names it
}

type faultKey struct{}

// WithFault returns a context in which the driver notes that the disk was full.
func WithFault(ctx context.Context) (context.Context, *Fault) {
	f := new(Fault)
	return context.WithValue(ctx, faultKey{}, f), f
}

// noteFull leaves a note in the request when err means a full disk. It returns
// err in any case.
func noteFull(ctx context.Context, path string, err error) error {
	if err == nil || !isFull(err) {
		return err
	}
	if f, ok := ctx.Value(faultKey{}).(*Fault); ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.path == "" {
			f.path = path
		}
	}
	return err
}

// At returns the file that did not fit, "" if all did.
func (f *Fault) At() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.path
}
