// Package history is the record of what was deployed: which image each service
// ran, since when, who wanted it and how it went. The manager keeps it, one
// document of JSON per service, so that a person can go back to a version that was
// good, a manager that starts again finds what it was in the middle of, and the
// registry is told which images are still needed.
//
// A change is written before it begins and whenever it comes a stage further,
// each time into a new file that takes the place of the old one: a power cut
// leaves the one or the other.
package history

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"
)

// Kinds of changes.
const (
	KindDeploy   = "deploy"
	KindUpdate   = "update"
	KindRollback = "rollback"
	KindConfig   = "config" // the definition in the config file changed
	KindFound    = "found"  // it was there before anything was written down of it
)

// Stage names how far a change of a service is: the stages of a deploy in their order, then
// those of smaller changes.
type Stage string

// Stages of changes.
const (
	StageWait   Stage = "wait"   // for another change of the service
	StageBuild  Stage = "build"  // a directory becomes an image
	StagePush   Stage = "push"   // which goes into the cluster's registry
	StageCopy   Stage = "copy"   // or comes there from another registry
	StagePull   Stage = "pull"   // every node that may run it gets the image
	StageUpdate Stage = "update" // the service is changed
	StageWatch  Stage = "watch"  // Swarm replaces the replicas

	StageUnchanged Stage = "unchanged" // there is nothing to do
	StageScale     Stage = "scale"
	StageStop      Stage = "stop"
	StageStart     Stage = "start"
	StageRollBack  Stage = "roll back"
	StageRemove    Stage = "remove"
)

// UnmarshalText reads a stage, also by the name that older versions wrote.
func (s *Stage) UnmarshalText(text []byte) error {
	switch *s = Stage(text); *s {
	case "stage":
		*s = StagePull
	case "flip":
		*s = StageUpdate
	}
	return nil
}

// Untouched reports whether nothing of the service has changed at a stage, so that a
// change which ends there has done nothing.
func (s Stage) Untouched() bool {
	switch s {
	case "", StageWait, StageBuild, StagePush, StageCopy, StagePull, StageUnchanged:
		return true
	}
	return false
}

// Result says how a change ended.
type Result string

// Results of a change.
const (
	Running     Result = "running" // it has not ended
	Done        Result = "done"
	RolledBack  Result = "rolled-back" // it failed and the version before runs again
	Failed      Result = "failed"
	Interrupted Result = "interrupted" // the manager stopped in the middle
)

// Entry is one change of a service.
type Entry struct {
	Version int           `json:"version"`     // from 1, counted for each service
	Image   string        `json:"image"`       // name:tag
	Digest  string        `json:"digest"`      // sha256:…, empty as long as it is not known
	At      time.Time     `json:"at,omitzero"` // when it began
	By      string        `json:"by"`
	Kind    string        `json:"kind"`
	From    int           `json:"from"`  // the version that a rollback went back to, or 0
	Stage   Stage         `json:"stage"` // how far it is or came
	Result  Result        `json:"result"`
	Why     string        `json:"why"`  // in one line
	Took    time.Duration `json:"took"` // in nanoseconds, as in the documents of earlier versions
	// TookNS is Took by the name that a time has everywhere in --json; it is not kept.
	TookNS time.Duration   `json:"took_ns,omitempty"`
	Spec   json.RawMessage `json:"spec,omitempty"` // of the service; its bytes are never changed

	Source *Source `json:"source,omitempty"` // what the image was built of; nil: it was there

	// Manager is the one that makes the change, by the ID of its certificate; empty: it is not known.
	Manager string `json:"manager,omitempty"`

	// hash of the one in the config file that it brings; empty: none of there
	Definition string `json:"definition,omitempty"`

	// Scaled are the last changes of its replicas that nobody made by hand, the oldest first.
	Scaled []Scaling `json:"scaled,omitempty"`
}

// Scaling is a change of the number of replicas by itself.
type Scaling struct {
	At   time.Time `json:"at,omitzero"`
	By   string    `json:"by"`
	From int       `json:"from"`
	To   int       `json:"to"`
	Why  string    `json:"why"` // in one line
}

// Source is a directory or program from which an image was built.
type Source struct {
	Path  string   `json:"path"`  // absolute, on the manager
	Flags []string `json:"flags"` // of the build, each NAME=VALUE
}

// Flag returns the last value that the build was given for a flag; empty: none.
func (s Source) Flag(name string) (value string) {
	for _, flag := range s.Flags {
		if is, text, _ := strings.Cut(flag, "="); is == name {
			value = text
		}
	}
	return value
}

// BrokenOff is why a change was interrupted that its user did not want any longer.
const BrokenOff = "broken off before anything was changed"

// WasCutOff reports whether the manager stopped in the middle of the change.
func (e Entry) WasCutOff() bool {
	return e.Result == Interrupted && e.Why != BrokenOff && !strings.HasSuffix(e.Why, context.Canceled.Error())
}

// What stands in why a change was taken back, before what its version failed by.
const (
	Back  = "the old version runs again: "
	Stood = "it is stopped again, as before: "
)

// Untaken stands in why a change came to nothing, before what Swarm has against it.
const Untaken = "Swarm did not take it: "

// Cause returns what a change failed by, without what became of it.
func (e Entry) Cause() string {
	for _, became := range []string{Back, Stood, Untaken} {
		if _, cause, ok := strings.Cut(e.Why, became); ok {
			return cause
		}
	}
	return e.Why
}

// Mark returns the label of a service that the entry's change made.
func (e Entry) Mark() string { return e.At.UTC().Format(time.RFC3339Nano) }

// Original returns the version whose image and settings the entry has: its own, or the one
// that it went back to.
func (e Entry) Original() int { return cmp.Or(e.From, e.Version) }

// artifact names the image of an entry, or is empty for one without.
func (e Entry) artifact() string {
	if e.Digest != "" {
		return e.Digest
	}
	return e.Image
}
