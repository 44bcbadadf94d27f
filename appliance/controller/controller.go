// Package controller holds what the loops of a manager have in common that keep something
// as it should be: the services of the config file, the images on the nodes. A controller
// is a package below this one with a pure function that decides and a Loop that observes,
// has it decide and acts; it changes services through the deploy package only. A node runs
// it as one more part.
//
//	         ┌──────────── every so often, after a kick ◀── Again
//	         ▼
//	observe ──▶ decide ──▶ act ──▶ all is done: wait
//	         ▲                └──▶ something failed: wait for Retry, twice as long each time
//	         └────────────────────────────────┘
package controller

import (
	"context"
	"errors"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lifecycle"
)

// Loop calls its round now and then. Rounds never overlap, and of kicks that come during
// one a single one remains, so a loop holds no more than it was made with.
type Loop struct {
	Name  string
	First time.Duration // how long the first round waits
	Every time.Duration // how long a round waits that follows one in which all was done; 0: until Again
	// Retry is how long a round waits that follows a failed one. It doubles with each that
	// fails, up to RetryMost.
	Retry, RetryMost time.Duration

	round func(context.Context) error
	kick  chan struct{}
}

// New returns a loop of rounds. What a round returns is not logged here: it is an error
// where there should be another one soon.
func New(name string, round func(context.Context) error) *Loop {
	return &Loop{Name: name, round: round, kick: make(chan struct{}, 1)}
}

// Round makes one round of its three halves: what is seen, what there is to do about it,
// and how. One action that fails does not keep the others from being taken.
func Round[Seen, Action any](
	observe func(context.Context) (Seen, error), decide func(Seen) []Action, act func(context.Context, Action) error,
) func(context.Context) error {
	return func(ctx context.Context) error {
		seen, err := observe(ctx)
		if err != nil {
			return err
		}
		var errs []error
		for _, action := range decide(seen) {
			errs = append(errs, act(ctx, action))
		}
		return errors.Join(errs...)
	}
}

// Again asks for another round. It does not block.
func (l *Loop) Again() {
	select {
	case l.kick <- struct{}{}:
	default: // there will be one
	}
}

// Run calls the round until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	wait, retry := l.First, l.Retry
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.kick:
			retry = l.Retry
		case <-timer.C:
		}
		timer.Stop()
		switch err := l.round(ctx); {
		case err != nil:
			timer.Reset(retry)
			retry = min(2*retry, l.RetryMost)
		default:
			retry = l.Retry
			if l.Every > 0 {
				timer.Reset(l.Every)
			}
		}
	}
}

func (l *Loop) Part() lifecycle.Part {
	return lifecycle.Part{Name: l.Name, Component: lifecycle.Func(func(ctx context.Context, ready func()) error {
		// A round may take as long as a change of a service.
		ready()
		return l.Run(ctx)
	})}
}
