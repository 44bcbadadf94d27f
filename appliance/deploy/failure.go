package deploy

import (
	"errors"
	"fmt"
)

// failure is what a version was found bad by.
type failure struct {
	service string
	cause   string // what the task that failed last said
	node    string // where; empty where it is not known
	task    string // its ID
}

func failureOf(service string, p Progress) failure {
	return failure{service: service, cause: p.LastErr, node: p.LastNode, task: p.LastTask}
}

func (f failure) where() string { return f.cause + on(f.node) }

// RolledBackError says that a version was bad and the one before it runs again in
// full.
type RolledBackError struct{ failure }

func (e *RolledBackError) Error() string {
	return fmt.Sprintf("%s: the update failed and the old version runs again: %s", e.service, e.where())
}

// NoOlderError says that the first version of a service is bad, so that there is
// none to go back to.
type NoOlderError struct{ failure }

func (e *NoOlderError) Error() string {
	return fmt.Sprintf("%s: its tasks fail: %s; there is no older version, so it stays: deploy a better one, or remove it with `crawlbox rm %s`",
		e.service, e.where(), e.service)
}

// failingError ends a change of which too many tasks fail.
type failingError struct{ failure }

func (e *failingError) Error() string { return e.service + ": its tasks fail: " + e.where() }

// stalledError ends a change that has come to a standstill.
type stalledError struct {
	failure
	text string
}

func (e *stalledError) Error() string { return e.service + ": " + e.text }

// badBy says by what the version of a change is found bad that is to go back.
func badBy(err error) (failure, bool) {
	var failing *failingError
	var stalled *stalledError
	switch {
	case errors.As(err, &failing):
		return failing.failure, true
	case errors.As(err, &stalled):
		return stalled.failure, true
	}
	return failure{}, false
}

// FailedTask is the ID of the task by which a version was found bad, empty where
// an error says none.
func FailedTask(err error) string {
	var back *RolledBackError
	var none *NoOlderError
	switch {
	case errors.As(err, &back):
		return back.task
	case errors.As(err, &none):
		return none.task
	}
	return ""
}

// WasRolledBack says whether an error means that the old version runs again.
func WasRolledBack(err error) bool {
	var back *RolledBackError
	return errors.As(err, &back)
}
