// Package clock waits. It ends with a context, as all waiting in crawlbox has to, and says so
// at each place in a word.
//
// What gives up on another node, an engine or a part measures with Silence or Watch: on a
// machine that is starved of its processors timers fire late, and what has come meanwhile lies
// there unread. That says nothing about the other side.
package clock

import (
	"context"
	"sync"
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

// silentSteps is in how many steps a Silence counts.
const silentSteps = 10

// Silence calls a function once nothing was heard for a while. It counts in steps, each of
// which counts once, however late its timer fires. Its methods may be called at the same time.
type Silence struct {
	step  time.Duration
	alarm func()

	mu      sync.Mutex
	left    int // steps; 0: it is stopped
	timer   *time.Timer
	stopped bool
}

// NewSilence returns one that calls alarm, once, when Heard was not called for so long; it
// begins now.
func NewSilence(after time.Duration, alarm func()) *Silence {
	s := &Silence{step: after / silentSteps, alarm: alarm, left: silentSteps}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(s.step, s.count)
	return s
}

func (s *Silence) count() {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return
	}
	s.left--
	alarm := s.left <= 0
	if s.stopped = alarm; !alarm {
		s.timer.Reset(s.step)
	}
	s.mu.Unlock()
	if alarm {
		s.alarm()
	}
}

// Heard begins to count anew, also after Stop.
func (s *Silence) Heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = silentSteps + 1 // the step that is under way may be nearly over
	if s.stopped {
		s.left, s.stopped = silentSteps, false
		s.timer.Reset(s.step)
	}
}

// Stop ends the count.
func (s *Silence) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.timer.Stop()
}

// Watch is the time of a loop that looks at something again and again: what it waited for
// between two looks counts, but no more than Most, however late it came to the second. It is
// for one goroutine.
type Watch struct {
	Most time.Duration

	last time.Time
	now  time.Duration
}

// Look returns the time since the first look.
func (w *Watch) Look() time.Duration {
	now := time.Now()
	if !w.last.IsZero() {
		w.now += min(now.Sub(w.last), w.Most)
	}
	w.last = now
	return w.now
}
