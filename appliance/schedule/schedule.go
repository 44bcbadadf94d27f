// Package schedule says when schedules are due, and what is to be done about it. A schedule begins runs of a service at
// planned times: those of a cron expression in a time zone, or every so often. Each planned time is dealt with once: it
// is begun, or it is skipped by a rule that somebody chose, which is told.
//
//	Schedule ──Times──▶ planned times ──Decide(position, live runs, now)──▶ Plan: runs to begin and to stop, position
//
// Nothing here looks at a clock or speaks to Swarm. What makes it exactly once is that a run's name follows from its
// schedule and planned time, see runs.PlannedID: a leader that dies between the begin of a run and the note of it in
// the cluster's state leaves a name that the next one finds taken.
package schedule

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/planned"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

// What becomes of a planned time while as many runs of its schedule run as may.
const (
	Skip    = "skip"    // it is skipped
	Wait    = "wait"    // it begins when one has ended
	Replace = "replace" // the oldest run is stopped
)

// RunOnce has one run begin for all times that passed while nobody was there to begin them, for the last of them. The
// other rule is Skip.
const RunOnce = "run-once"

const (
	// maxName bounds the name of a schedule: its runs are named by it and their planned time, see runs.PlannedID.
	maxName = 40
	// maxJitter bounds the jitter.
	maxJitter = 24 * time.Hour
	// maxAtOnce bounds the runs of a schedule at a time.
	maxAtOnce = 100
)

// Schedule is what somebody asked for.
type Schedule struct {
	Name    string `json:"name"`
	Service string `json:"service"`      // whose version at the time is run
	Cron    string `json:"cron"`         // five fields, @daily or the like, or @every 15m
	Zone    string `json:"tz,omitempty"` // of the IANA's database; empty: UTC

	Jitter  time.Duration `json:"jitter_ns,omitempty"` // a run begins up to so much later
	Overlap string        `json:"overlap,omitempty"`   // empty: Skip
	Missed  string        `json:"missed,omitempty"`    // empty: RunOnce
	AtMost  int           `json:"at_most,omitempty"`   // runs at a time; 0: 1

	Args     map[string]string `json:"args,omitempty"`
	Command  []string          `json:"command,omitempty"`
	Replicas int               `json:"replicas"`
	Retries  int               `json:"retries"`
	Timeout  time.Duration     `json:"timeout_ns,omitempty"`

	By string `json:"by"` // who asked for it
}

// Times returns the planned times. It reads the time zone's file.
func (s Schedule) Times() (planned.Times, error) { return planned.Parse(s.Cron, s.Zone) }

// Run returns what the run is asked to be that is planned for a time, and is asked for now.
func (s Schedule) Run(planned, now time.Time) runs.Spec {
	return runs.Spec{
		ID:       runs.PlannedID(s.Name, planned),
		Service:  s.Service,
		Schedule: s.Name,
		Planned:  planned.UTC(),
		By:       "schedule " + s.Name,
		At:       now.UTC(),
		Args:     s.Args,
		Command:  s.Command,
		Replicas: s.Replicas,
		Retries:  s.Retries,
		Timeout:  s.Timeout,
	}
}

// Check returns why there can be no such schedule, in words that follow its name. It reads the time zone's file.
func (s Schedule) Check() error {
	if err := naming.CheckService(s.Name); err != nil || len(s.Name) > maxName {
		return fmt.Errorf("%.64q cannot name a schedule: use at most %d letters, digits, - and _", s.Name, maxName)
	}
	if err := naming.CheckService(s.Service); err != nil {
		return cmp.Or(err, errors.New("it names no service"))
	}
	switch {
	case !slices.Contains([]string{"", Skip, Wait, Replace}, s.Overlap):
		return fmt.Errorf("overlap is %q; it is skip, wait or replace", s.Overlap)
	case !slices.Contains([]string{"", RunOnce, Skip}, s.Missed):
		return fmt.Errorf("missed is %q; it is run-once or skip", s.Missed)
	case s.Jitter < 0 || s.Jitter > maxJitter:
		return fmt.Errorf("jitter is %s; it is at most %s", s.Jitter, maxJitter)
	case s.AtMost < 0 || s.AtMost > maxAtOnce:
		return fmt.Errorf("at_most is %d; it is a number from 1 to %d", s.AtMost, maxAtOnce)
	}
	if _, err := s.Times(); err != nil {
		return err
	}
	return s.Run(time.Time{}, time.Time{}).Check()
}

// delay returns how long after a planned time its run begins: the same for whoever asks.
func (s Schedule) delay(planned time.Time) time.Duration {
	if s.Jitter < time.Second {
		return 0
	}
	sum := sha256.Sum256([]byte(runs.PlannedID(s.Name, planned)))
	return time.Duration(binary.BigEndian.Uint64(sum[:])%uint64(s.Jitter/time.Second)) * time.Second
}

// Due returns when the run of a planned time begins.
func (s Schedule) Due(planned time.Time) time.Time { return planned.Add(s.delay(planned)) }
