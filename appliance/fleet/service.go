package fleet

import (
	"fmt"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Modes of a service.
const (
	ModeReplicated = "replicated"
	ModeGlobal     = "global"
)

// Room returns how many replicas of a service nodes bear, and how many of them take any.
func Room(nodes []Node) (most, active int) {
	for _, n := range nodes {
		if n.Availability == AvailabilityActive {
			active++
		}
	}
	return min(max(active, 1)*bound.MaxDensity, bound.MaxReplicas), active
}

// Crowded returns why so many replicas are more than nodes bear; empty where they are not.
func Crowded(replicas int, nodes []Node) string {
	most, active := Room(nodes)
	if replicas <= most {
		return ""
	}
	bear := "bear"
	if active == 1 {
		bear = "bears"
	}
	return fmt.Sprintf("%d replicas are more than %s %s; give %d at most", replicas, words.Count(active, "node"), bear,
		most)
}

// States of an update that crawlbox decides on; Swarm knows more.
const (
	Updating         = "updating"
	UpdatePaused     = "paused"
	UpdateCompleted  = "completed"
	RollingBack      = "rollback_started"
	RollbackPaused   = "rollback_paused"
	UpdateRolledBack = "rollback_completed"
)

// Service is a Swarm service and its state.
type Service struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Mode   string `json:"mode"`   // replicated, global, replicated-job or global-job
	Image  string `json:"image"`  // as the user wrote it, without digest
	Digest string `json:"digest"` // sha256:…, or empty where the spec is not pinned
	// replicas asked for; for a global service the nodes it may run on
	Desired  int `json:"desired"`
	Running  int `json:"running"`  // replicas that run now
	Complete int `json:"complete"` // replicas that ended by themselves with exit code 0
	Failed   int `json:"failed"`   // tasks that failed and whose slot does not run now
	// replicas that ran on nodes of which nothing is heard any longer
	Lost int `json:"lost,omitempty"`
	// no node takes its tasks: those that may run it are drained, paused or down, or there are none
	NoNode bool `json:"no_node,omitempty"`
	// state of the last update: updating, completed, paused, rollback_…; empty: never updated
	Update   string `json:"update"`
	Message  string `json:"message"`          // Swarm's word on that update
	Managed  bool   `json:"managed"`          // comes from the config file
	Hash     string `json:"hash,omitempty"`   // of the definition it was made from
	Replicas int    `json:"replicas_defined"` // replicas of that definition, -1 where there is none
	// replicas that one which was scaled to 0 had before; 0: it was not, or nobody knows
	Before        int           `json:"replicas_before,omitempty"`
	Pending       string        `json:"pending,omitempty"` // an update that was begun and is to go on; see LabelPending
	Deploy        string        `json:"deploy,omitempty"`  // that made it what it is; see LabelDeploy
	Queue         string        `json:"queue,omitempty"`   // that its environment names; see LabelQueue
	Restarts      bool          `json:"restarts"`          // a replica that ended with exit code 0 is started again
	UpdateStarted time.Time     `json:"update_started,omitzero"`
	RestartDelay  time.Duration `json:"restart_delay_ns,omitempty"` // after which Swarm starts a failed replica again
	// of one whose replicas are all complete, from its first task to the end of its last
	Took        time.Duration `json:"took_ns,omitempty"`
	Constraints []string      `json:"constraints,omitempty"` // on the nodes that its tasks may run on
	Platforms   []Platform    `json:"-"`                     // that its image is for; none: any, or not known
	MaxPerNode  int           `json:"-"`                     // tasks on one node at most; 0: any number
	Reserves    bool          `json:"-"`                     // its tasks go only where what they reserve is free
	Resources   Resources     `json:"-"`
	// nodes, by ID, that its tasks are kept off since no crawlbox runs there
	Avoids []string `json:"avoids,omitempty"`
	// Swarm goes on with an update of it whatever fails
	Tolerates bool `json:"tolerates"`
	// Swarm leaves an update of it halfway where a task fails
	Pauses        bool          `json:"-"`
	UpdateDelay   time.Duration `json:"update_delay_ns,omitempty"`   // between two lots of replicas
	UpdateMonitor time.Duration `json:"update_monitor_ns,omitempty"` // for how long a new replica is watched
	Created       time.Time     `json:"created,omitzero"`
	Updated       time.Time     `json:"updated,omitzero"`
	// that has its number of replicas follow a queue; nil: none has
	Autoscale *Autoscale `json:"autoscale,omitempty"`
	// what the run is that the service is of, and why it is stopped; see LabelRun and LabelRunStop
	Run     string `json:"run,omitempty"`
	RunStop string `json:"run_stop,omitempty"`
}

// Autoscale is how the replicas of a service follow the length of a queue.
type Autoscale struct {
	scalerule.Rule
	Defined bool `json:"defined"` // by the config file
	// replicas that the rule led to last, -1 where there are none yet; another number is a person's
	Set    int    `json:"set"`
	Why    string `json:"why,omitempty"`    // they are as many
	Paused string `json:"paused,omitempty"` // why a person says how many there are; empty: the rule does
}

// Scaling is what a service that follows a queue does, and why.
type Scaling struct {
	Service string `json:"service"`
	Autoscale
	Replicas int   `json:"replicas"` // that Swarm is asked for
	Waiting  int64 `json:"waiting"`  // items
	InFlight int64 `json:"in_flight"`
	Leased   bool  `json:"leased"` // it is known who holds items
	// items that a replica takes in a minute; 0: that is not known
	PerMinute float64   `json:"per_minute,omitempty"`
	Wanted    int       `json:"wanted"` // replicas; -1: not known
	Now       string    `json:"now"`    // what is done, and why
	At        time.Time `json:"at,omitzero"`
}

// PausedNow returns what a service does that a person scales, though it has a rule.
func (a Autoscale) PausedNow(service string) string {
	return fmt.Sprintf("paused: it was %s; `crawlbox scale %s=auto` has it go on", a.Paused, service)
}

// PausedWhy returns what the history says where a person scales a service that follows a queue.
func PausedWhy(service string) string {
	return fmt.Sprintf("by hand; it follows its queue again after `crawlbox scale %s=auto`", service)
}

// IsJob reports whether the tasks of the service run once and are done.
func (svc Service) IsJob() bool { return strings.HasSuffix(svc.Mode, "-job") }

// Pinned returns the image with its digest, where that is known.
func (svc Service) Pinned() string { return strings.TrimSuffix(svc.Image+"@"+svc.Digest, "@") }

// IsStopped reports whether the service was scaled to 0.
func (svc Service) IsStopped() bool {
	return svc.Mode == ModeReplicated && svc.Desired == 0 && svc.Pending == ""
}

// IsFinished reports whether all replicas have ended well by themselves, so that Swarm
// starts none of them.
func (svc Service) IsFinished() bool {
	return !svc.IsJob() && svc.Complete > 0 && svc.Running == 0 && svc.Complete == svc.Desired
}

// OwnServices begin the names of services that are the cluster's own, such as those of its queue: crawlbox alone makes,
// changes and removes them.
const OwnServices = "crawlbox-queue-"

// IsOwn reports whether a service is the cluster's own.
func (svc Service) IsOwn() bool { return strings.HasPrefix(svc.Name, OwnServices) }

// IsRun reports whether a service is one run: crawlbox removes it once that has ended.
func (svc Service) IsRun() bool { return svc.Run != "" }

// Labels that crawlbox puts on the services it makes from the config file.
const (
	// LabelOwn marks a service that is the cluster's own, and says what of.
	LabelOwn      = "crawlbox.own"
	LabelManaged  = "crawlbox.managed"          // "config"
	LabelHash     = "crawlbox.service.hash"     // of the definition
	LabelReplicas = "crawlbox.service.replicas" // of the definition, in decimal

	// LabelPending is the journal of an update that stops all replicas first:
	// "REPLICAS IMAGE", written in the same change that stops them and taken
	// away in the one that starts the new version. A manager that finds it at
	// its start goes on from there.
	LabelPending = "crawlbox.update.pending"

	// LabelDeploy tells the deploy that made the service what it is. It is written in
	// the same change: a manager that finds a deploy cut off knows whether it came
	// that far, also where the image stayed the same.
	LabelDeploy = "crawlbox.deploy"

	// LabelAvoids lists the nodes, by ID and with commas between, that the tasks are kept off
	// since no crawlbox ran there when the service was deployed.
	LabelAvoids = "crawlbox.avoids"

	// LabelNudged holds when Swarm was last made to begin an update again that waited for
	// tasks on lost nodes.
	LabelNudged = "crawlbox.update.nudged"

	// LabelQueue marks a service whose environment has the URL of the cluster's queue, with
	// what tells one URL from another.
	LabelQueue = "crawlbox.queue"

	// LabelReplicasBefore keeps how many replicas a service had that was scaled to 0, in
	// decimal, until it is started again.
	LabelReplicasBefore = "crawlbox.replicas.before"

	// LabelRestartDelay keeps the delay between the failure of a replica and the next
	// start, as Go writes it, of a service whose delay was made longer since it never
	// worked. The next deploy brings it back.
	LabelRestartDelay = "crawlbox.restart.delay"

	// LabelAutoscale has the rule by which the replicas follow a queue, in JSON. LabelAutoscaled is in the change of
	// the replicas that it led to: "REPLICAS WHY". LabelAutoscalePaused says why a person sets them meanwhile.
	LabelAutoscale       = "crawlbox.autoscale"
	LabelAutoscaled      = "crawlbox.autoscale.set"
	LabelAutoscalePaused = "crawlbox.autoscale.paused"

	// LabelRun marks the service of a run, and has what was asked for in JSON: who, when, of which service, with what.
	// LabelRunStop has who ends it before its time, and when.
	LabelRun     = "crawlbox.run"
	LabelRunStop = "crawlbox.run.stop"
)
