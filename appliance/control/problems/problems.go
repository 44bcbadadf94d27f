// Package problems finds all that is not as it should be, from what is known of a node and its
// cluster. It is the one place that words it, so that what `crawlbox nodes`, `ls`, `ps`,
// `doctor`, the history or the journal show is in `crawlbox status` too, the worst first.
//
// Each problem names the remedy that harms least: what can be started again is never removed
// first. One that is over is none any longer: nothing is remembered here, and all is found anew
// from what there is. Nothing here makes a call.
package problems

import (
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/queueproc/leases"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// Seen is what is known. What a node has not stays zero.
type Seen struct {
	Now     time.Time
	Started time.Time // when this crawlbox was started

	Docker  error             // why the engine of this node can't be asked
	Cluster *fleet.Snapshot   // what Swarm and gossip say; nil: this node does not manage the swarm, or can't be asked
	Why     map[string]string // by the ID of a task: why it failed, and what it wrote last

	Members     []gossip.Member // that gossip has heard of
	Follows     netip.Addr      // of the manager that this node follows; not valid: it has the state itself
	FollowsName string
	QueueHome   netip.Addr      // of the manager that has the queue; not valid: this node has it, or none is known
	QueueApart  bool            // its items are not with that, and it goes on without
	Last        LastChange      // from the history of deploys; nil: it is elsewhere
	Config      []services.Note // what the user should know of the config file
	Queue       *queueproc.State
	QueueEngine string           // that keeps the queue's items; empty: crawlbox does
	QueueDead   []leases.Dead    // those that have most first
	QueueMarks  []string         // of the URLs of the queue, see fleet.LabelQueue; nil: they are not known
	Moved       *doctor.Moved    // the address that this machine had as a node, and no longer has; nil: it has it
	Findings    []doctor.Finding // of this machine
	Parts       []api.Problem    // what parts of the node know to be wrong with themselves
}

// LastChange returns the newest change of a service that the history has.
type LastChange func(service string) (e history.Entry, ok bool)

// Find returns all problems, the worst first.
func Find(s Seen) []api.Problem {
	list := slices.Concat(s.Parts, s.machine(), s.follows(), s.nodes(), s.versions(), s.queue(), s.dead(), s.fronts(),
		s.config(), s.services())
	slices.SortStableFunc(list, func(a, b api.Problem) int {
		if a.Level != b.Level {
			return slices.Index(api.Levels, a.Level) - slices.Index(api.Levels, b.Level)
		}
		return slices.Index(api.Kinds, a.Kind) - slices.Index(api.Kinds, b.Kind)
	})
	told := map[string]bool{}
	return slices.DeleteFunc(list, func(p api.Problem) bool {
		again := told[p.Text]
		told[p.Text] = true
		return again
	})
}
