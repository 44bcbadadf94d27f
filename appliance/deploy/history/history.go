// Package history is the record of what was deployed: which image each service
// ran, since when, who wanted it and how it went. The manager keeps it, one
// JSON file per service, so that a person can go back to a version that was
// good, a manager that starts again finds what it was in the middle of, and the
// registry is told which images are still needed.
//
// A change is written before it begins and whenever it comes a stage further,
// each time into a new file that takes the place of the old one: a power cut
// leaves the one or the other.
package history

import (
	"encoding/json"
	"time"
)

// Kinds of changes.
const (
	KindDeploy   = "deploy"
	KindUpdate   = "update"
	KindRollback = "rollback"
	KindConfig   = "config" // the definition in the config file changed
)

// Stages of a change, in their order.
const (
	StageBuild = "build"
	StagePush  = "push"
	StageStage = "stage" // the image goes to the nodes
	StageFlip  = "flip"  // the service is changed
	StageWatch = "watch" // Swarm replaces the replicas
)

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
	Version int             `json:"version"` // from 1, counted for each service
	Image   string          `json:"image"`   // name:tag
	Digest  string          `json:"digest"`  // sha256:…, empty as long as it is not known
	At      time.Time       `json:"at"`      // when it began
	By      string          `json:"by"`
	Kind    string          `json:"kind"`
	From    int             `json:"from"`  // the version that a rollback went back to, or 0
	Stage   string          `json:"stage"` // how far it is or came
	Result  Result          `json:"result"`
	Why     string          `json:"why"`            // in one line
	Took    time.Duration   `json:"took"`           // nanoseconds
	Spec    json.RawMessage `json:"spec,omitempty"` // of the service; its bytes are never changed

	Source *Source `json:"source,omitempty"` // what the image was built of; nil: it was there

	Definition string `json:"definition,omitempty"` // hash of the one in the config file that it brings; empty: none of there
}

// Source is a folder or program from which an image was built.
type Source struct {
	Path  string   `json:"path"`  // absolute, on the manager
	Flags []string `json:"flags"` // of the build, each NAME=VALUE
}

// artifact names the image of an entry, or is empty for one without.
func (e Entry) artifact() string {
	if e.Digest != "" {
		return e.Digest
	}
	return e.Image
}
