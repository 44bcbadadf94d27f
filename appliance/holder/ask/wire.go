package ask

import (
	"net/netip"
	"time"
)

// MaxLine bounds a message of either side, in bytes.
const MaxLine = 4 << 10

// Question is what the process says, one a line. It has Who or Ended.
type Question struct {
	Number uint64      `json:"number,omitempty"` // of Who, which its answer has too
	Who    *Connection `json:"who,omitempty"`
	Ended  *Run        `json:"ended,omitempty"`
}

// Connection is one that the process has accepted: its other end is what is asked for.
type Connection struct {
	Local  netip.AddrPort `json:"local"`  // of the process
	Remote netip.AddrPort `json:"remote"` // of the other end
	Since  time.Duration  `json:"since"`  // the machine booted, when it was accepted
}

// Run is a container from one start to its end. The same container may be started again: that is another.
type Run struct {
	ID      string `json:"id"`
	Started int64  `json:"started"` // Unix time in nanoseconds, as the engine has it
}

// Valid reports whether a run may be one: its ID is Docker's, in full.
func (r Run) Valid() bool {
	if len(r.ID) != 64 {
		return false
	}
	for _, c := range []byte(r.ID) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Answer is what the node says, one a line, in any order. It has Number, or Ended.
type Answer struct {
	Number  uint64  `json:"number,omitempty"`
	Holder  *Holder `json:"holder,omitempty"` // nil: no container of this machine
	Ended   *Run    `json:"ended,omitempty"`  // the run that was asked for
	Ending  *Ending `json:"ending,omitempty"`
	Problem string  `json:"problem,omitempty"` // why there is no answer
}

// Holder is a container that has a connection.
type Holder struct {
	Run
	Name    string `json:"name"`
	Service string `json:"service,omitempty"` // of Swarm; empty: it is no task's
	Task    string `json:"task,omitempty"`    // Swarm's ID of the task
}

// Ending is how a container ended.
type Ending struct {
	Known       bool `json:"known"` // else nobody knows: it was removed meanwhile
	Code        int  `json:"code"`
	OutOfMemory bool `json:"out_of_memory"` // the kernel killed a process of it for that
	// Stopped says that Docker sent it a signal before, as `docker stop`, Swarm and the end of Docker do; or
	// that it can't be told, since nobody watched. A program may end with code 0 then.
	Stopped bool `json:"stopped"`
}

// Done reports whether a container ended because its work was.
func (e Ending) Done() bool { return e.Known && e.Code == 0 && !e.Stopped }
