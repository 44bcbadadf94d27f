// Package api is the local API of a node: HTTP and JSON over the unix socket
// that the command line speaks to. It holds the wire types, the Client and the
// Handler, which turns requests into calls of a Backend.
//
// Reads answer one JSON value. What takes time (scale, update, remove, logs)
// answers a stream of JSON values, one a line, and an error after the first
// value arrives as a value too: see Event. An error before it is an Error with
// its HTTP status. The client may go away at any time; what it had started
// goes on where Swarm has it already, and nothing is taken back.
package api

import (
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Status is the state of this node and its cluster in short.
type Status struct {
	Version  string    `json:"version"` // of crawlbox
	Mode     string    `json:"mode"`    // manager or worker: how crawlbox was started
	Node     string    `json:"node"`    // host name
	Addr     string    `json:"addr"`    // advertised address
	Started  time.Time `json:"started"`
	Docker   Docker    `json:"docker"`
	Manager  bool      `json:"manager"`  // its Docker Engine is a swarm manager now
	Cluster  string    `json:"cluster"`  // ID of the swarm
	Nodes    Count     `json:"nodes"`    // ready of all
	Managers Count     `json:"managers"` // reachable of all
	Services Count     `json:"services"` // with all replicas running or complete, of all
	Tasks    Count     `json:"tasks"`    // running of desired
	Registry Registry  `json:"registry"`
	Queue    *Queue    `json:"queue,omitempty"` // nil: off
	Problems []string  `json:"problems"`        // each a sentence: what, where, what to do
}

// Count is a part of a whole.
type Count struct {
	Have int `json:"have"`
	Want int `json:"want"`
}

// Docker is the Docker Engine of this node.
type Docker struct {
	State   string `json:"state"` // running or stopped
	Version string `json:"version"`
	Host    string `json:"host"` // its address, such as unix:///var/run/docker.sock
}

// Registry is where images are pushed and pulled on this node.
type Registry struct {
	Local    string `json:"local"`            // localhost:8003
	Public   string `json:"public,omitempty"` // ADDRESS:8003 on the manager that holds it
	Dir      string `json:"dir"`
	Free     int64  `json:"free"`   // bytes free under Dir
	Images   int    `json:"images"` // tags; on a worker 0
	Used     int64  `json:"used"`   // bytes that a worker's mirror keeps
	ReadOnly bool   `json:"read_only"`

	Traffic Traffic `json:"traffic"`
}

// Traffic is what images moved since crawlbox was started, in bytes. Of a manager it
// has what was sent to other nodes, nothing else.
type Traffic struct {
	FromManager int64 `json:"from_manager"`
	FromNodes   int64 `json:"from_nodes"` // other than managers
	FromCache   int64 `json:"from_cache"` // of this node, to its Docker
	Sent        int64 `json:"sent"`       // to other nodes, in pieces
	BadPieces   int64 `json:"bad_pieces"` // that did not match their checksum
	Retries     int64 `json:"retries"`    // pieces that a node did not give as it should
}

// Queue is the embedded Redis queue.
type Queue struct {
	Addr      string   `json:"addr"`
	Serving   bool     `json:"serving"`
	Restarts  int      `json:"restarts"` // of its process, since crawlbox was started
	Keys      int64    `json:"keys"`
	Clients   int64    `json:"clients"`
	Memory    int64    `json:"memory"`          // bytes of data and clients
	MaxMemory int64    `json:"max_memory"`      // bytes, above which writes are refused
	Lacks     []string `json:"lacks,omitempty"` // parts of its sandbox that the machine does not allow
}

// QueueAddress is what a program needs to speak to the queue.
type QueueAddress struct {
	URL      string `json:"url"` // redis://default:PASSWORD@ADDRESS:PORT; rediss:// with queue.tls
	Addr     string `json:"addr"`
	Password string `json:"password"`
}

// TaskQuery chooses tasks. Empty fields choose all.
type TaskQuery struct {
	Service string // name or ID
	Node    string // name or ID
	All     bool   // also those that have ended and were replaced
}

// LogQuery chooses log lines.
type LogQuery struct {
	Target string // a service, or one task: its name (spider.3) or ID
	Follow bool
	Tail   int       // last lines of each task; negative: all
	Since  time.Time // zero: from the beginning
}

// LogLine is one line that a task wrote, or, where Task is empty, a word of
// crawlbox about the stream itself.
type LogLine struct {
	Time   time.Time `json:"time"`
	Task   string    `json:"task"`
	TaskID string    `json:"task_id"`
	Node   string    `json:"node"`
	Stream string    `json:"stream"` // stdout or stderr
	Text   string    `json:"text"`
}

// ScaleRequest asks for numbers of replicas, by service.
type ScaleRequest struct {
	Replicas map[string]int `json:"replicas"`
	Now      bool           `json:"now,omitempty"` // kill the containers, without their grace time; all Replicas are 0
}

// UpdateRequest asks for another image.
type UpdateRequest struct {
	Service      string `json:"service"`
	Image        string `json:"image"`
	StopFirstAll bool   `json:"stop_first_all"` // stop every replica, then start the new version
}

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

// GCReport says what a collection of unused images freed.
type GCReport struct {
	Manifests int   `json:"manifests"`
	Blobs     int   `json:"blobs"`
	Bytes     int64 `json:"bytes"`

	// Held is the size in bytes of what nothing needs but a push under way may
	// count on; it can be freed from HeldUntil on.
	Held      int64     `json:"held"`
	HeldUntil time.Time `json:"held_until,omitzero"`
}

// Items are entries of a queue, its head first.
type Items struct {
	Key   string   `json:"key"`
	Len   int64    `json:"len"`
	Items []string `json:"items,omitempty"`
}

// Inspect is a service in whole: crawlbox's view and Docker's own JSON, with
// secrets hidden.
type Inspect struct {
	fleet.Service
	Spec any `json:"spec"`
}
