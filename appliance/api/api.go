// Package api is the local API of a node: HTTP and JSON over the unix socket
// that the command line speaks to. It has an Area for each subject: an interface of who answers, the wire
// types, the methods of the Client and the paths. The Handler serves areas, wherever
// they come from.
//
// Reads answer one JSON value. What takes time (scale, update, remove, logs)
// answers a stream of JSON values, one a line, and an error after the first
// value arrives as a value too: see Event. An error before it is an Error with
// its HTTP status. The client may go away at any time; what it had started
// goes on where Swarm has it already, and nothing is taken back.
package api

import (
	"time"
)

// Event is one step of something that takes time. Exactly one of the pointers
// is set on the last event of a service or of the whole.
type Event struct {
	Service  string   `json:"service"`
	Step     string   `json:"step,omitempty"`     // what is being done, such as "scale to 50"
	Running  int      `json:"running"`            // replicas that run the wanted version now, or ended well
	Complete int      `json:"complete,omitempty"` // of them, those that ended well
	Desired  int      `json:"desired"`
	Stopping int      `json:"stopping"`        // containers that still have to go
	Copied   Copied   `json:"copied,omitzero"` // before it, in the step "copy", of an image of another registry
	Staged   Staged   `json:"staged,omitzero"` // in the stage "stage" of a deploy
	Note     string   `json:"note,omitempty"`  // what the user should know, such as the error of a failing task
	Done     *Summary `json:"done,omitempty"`
	Err      *Error   `json:"error,omitempty"`
}

// Summary says how a finished operation went.
type Summary struct {
	Took        time.Duration `json:"took_ns"`
	Started     int           `json:"started"` // tasks that came to run during it
	P50         time.Duration `json:"p50_ns"`  // from the request to running, median over these tasks
	P95         time.Duration `json:"p95_ns"`
	Slowest     string        `json:"slowest"` // node of the task that took longest
	SlowestTook time.Duration `json:"slowest_ns"`
	Stopped     int           `json:"stopped"` // tasks that ended during it
}
