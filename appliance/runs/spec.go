// Package runs says what a run is: what was asked for, how it stands by what Swarm says of its tasks, and the record of
// it that is kept. A run is one ordinary replicated service of Swarm, and its ID is the name of that service: Swarm's
// raft lets a name in once, so that a run which is planned is begun exactly once, whoever begins it.
//
//	Spec ──(label of the service)──▶ Swarm ──▶ tasks ──Judge──▶ Verdict ──▶ Record ──▶ Store
//
// Nothing here speaks to Swarm or waits: who makes the service is package control/runs, who ends it and writes its
// record is package controller/runs.
package runs

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

const (
	// MaxRetries bounds how often a task of a run begins again: Swarm keeps the last five of each.
	MaxRetries = 4
	// MaxTimeout is the longest that a run may be given.
	MaxTimeout = 31 * 24 * time.Hour
	// maxParameters bounds the parameters of a run together, in bytes: its record has them.
	maxParameters = 8 << 10
	maxName       = 63 // of a service, Swarm's own
)

// Spec is what a run was asked to be. The service of the run has it in its label fleet.LabelRun.
type Spec struct {
	ID       string    `json:"id"`                 // also the name of its service in Swarm
	Service  string    `json:"service,omitempty"`  // that it is of; empty: of an image alone
	Schedule string    `json:"schedule,omitempty"` // that planned it; empty: a person asked
	Planned  time.Time `json:"planned,omitzero"`   // by the schedule
	By       string    `json:"by"`
	At       time.Time `json:"at,omitzero"` // when it was asked for

	Image    string            `json:"image"`  // name:tag
	Digest   string            `json:"digest"` // sha256:…, empty where none is known
	Args     map[string]string `json:"args,omitempty"`
	Env      []string          `json:"env,omitempty"`     // names of the variables that it was given
	Command  []string          `json:"command,omitempty"` // in place of its service's or image's; nil: that
	Replicas int               `json:"replicas"`
	Retries  int               `json:"retries"`              // after which a task that fails is not begun again
	Timeout  time.Duration     `json:"timeout_ns,omitempty"` // after which it is ended; 0: never
}

// Group is whose runs are kept together: those of its schedule, of its service, or of its image.
func (s Spec) Group() string { return cmp.Or(s.Schedule, s.Service, NameOf(s.Image)) }

// NameOf returns what a run of an image is called after: spider of localhost:8003/spider:0.02.
func NameOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndexByte(image, '/')+1:]
	image, _, _ = strings.Cut(image, ":")
	return cmp.Or(strings.Trim(notInName.ReplaceAllString(image, "-"), "-_"), "run")
}

// notInName is what names of images may have and those of services may not.
var notInName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// Pinned returns the image with its digest, where that is known.
func (s Spec) Pinned() string { return strings.TrimSuffix(s.Image+"@"+s.Digest, "@") }

// NewID returns the ID of a run that is begun by hand.
func NewID(service string, at time.Time) string {
	return named(service, at, "-"+strings.ToLower(rand.Text()[:3]))
}

// PlannedID returns the ID of the run that a schedule plans for a time: the same for whoever asks.
func PlannedID(schedule string, planned time.Time) string { return named(schedule, planned, "") }

func named(by string, at time.Time, end string) string {
	end = at.UTC().Format("-20060102-150405") + end
	return by[:min(len(by), maxName-len(end))] + end
}

// argName is that of a parameter: it is part of a flag, and of the name of a variable.
var argName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// Check returns why there can be no such run, in words that follow its name for the field.
func (s Spec) Check() error {
	if err := naming.CheckService(s.ID); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Args)) {
		if !argName.MatchString(name) {
			return fmt.Errorf("argument %q: a name has letters, digits, _ - and . and begins with a letter", name)
		}
	}
	size := len(strings.Join(s.Command, " ")) + len(strings.Join(s.Env, " "))
	for name, value := range s.Args {
		size += len(name) + len(value)
	}
	switch {
	case s.Replicas < 1 || s.Replicas > bound.MaxReplicas:
		return fmt.Errorf("replicas is %d; a run has 1 to %d", s.Replicas, bound.MaxReplicas)
	case s.Retries < 0 || s.Retries > MaxRetries:
		return fmt.Errorf("retries is %d; it is a number from 0 to %d", s.Retries, MaxRetries)
	case s.Timeout < 0 || s.Timeout > MaxTimeout || s.Timeout > 0 && s.Timeout < time.Second:
		return fmt.Errorf("timeout is %s; it is a span from 1s to %dh, such as 6h", s.Timeout, int(MaxTimeout.Hours()))
	case size > maxParameters:
		return fmt.Errorf("the arguments and the command have %d bytes together, more than %d; put what is long into "+
			"a file or the queue", size, maxParameters)
	}
	return nil
}

// Label returns what the label of the run's service says.
func (s Spec) Label() (string, error) {
	text, err := json.Marshal(s)
	return string(text), err
}

// Parse reads the label of a run's service.
func Parse(label string) (s Spec, err error) {
	if err = json.Unmarshal([]byte(label), &s); err != nil {
		return s, fmt.Errorf("read the label of a run: %w", err)
	}
	return s, nil
}

// Stop says why a run is ended before its time. The service of the run has it in its label fleet.LabelRunStop.
type Stop struct {
	At       time.Time `json:"at,omitzero"`
	By       string    `json:"by,omitempty"` // empty: nobody
	TimedOut bool      `json:"timed_out,omitempty"`
	Spent    bool      `json:"spent,omitempty"` // it has begun again as often as it may
	// Waited is what it waited for that had not started; empty: it had.
	Waited string `json:"waited,omitempty"`
}

// Label returns what the label says.
func (s Stop) Label() (string, error) {
	text, err := json.Marshal(s)
	return string(text), err
}

// ParseStop reads the label; nil: there is none.
func ParseStop(label string) (*Stop, error) {
	if label == "" {
		return nil, nil
	}
	var s Stop
	if err := json.Unmarshal([]byte(label), &s); err != nil {
		return nil, fmt.Errorf("read why a run is stopped: %w", err)
	}
	return &s, nil
}
