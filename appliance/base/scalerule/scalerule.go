// Package scalerule has the rule by which the replicas of a service follow the length of a queue. It is a leaf since
// the config file, the labels of services and the command line share it, and none of them knows another.
package scalerule

import (
	"fmt"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// Rule says how many replicas a service has. Just one of PerReplica and EmptyIn is more than 0.
type Rule struct {
	Queue      string        `json:"queue"` // the key
	PerReplica int           `json:"per_replica,omitempty"`
	EmptyIn    time.Duration `json:"empty_in_ns,omitempty"` // within which what is there now is to be done
	Min        int           `json:"min"`
	Max        int           `json:"max"`
}

// Bounds of rules.
const (
	MaxKey        = 1024 // bytes
	MaxPerReplica = 1_000_000_000
	LeastEmptyIn  = time.Minute
	MaxEmptyIn    = 30 * 24 * time.Hour
)

// Names of the parts of a rule, as the config file has them.
const (
	Queue      = "queue"
	PerReplica = "per_replica"
	EmptyIn    = "empty_in"
	Min        = "min"
	Max        = "max"
)

// Check returns what is wrong with the rule: the name of the part, and the reason; empty: nothing is.
func (r Rule) Check() (part, reason string) {
	switch {
	case r.Queue == "":
		return Queue, "is missing: name the key of the queue that is worked off"
	case len(r.Queue) > MaxKey:
		return Queue, fmt.Sprintf("is a key of %d bytes, at most %d", len(r.Queue), MaxKey)
	case r.PerReplica != 0 && r.EmptyIn != 0:
		return EmptyIn, "excludes per_replica: give one of them"
	case r.PerReplica == 0 && r.EmptyIn == 0:
		return PerReplica, "is missing: say how many items there are to be for each replica, such as 200, or give " +
			"empty_in, such as 2h"
	case r.PerReplica < 0 || r.PerReplica > MaxPerReplica:
		return PerReplica, fmt.Sprintf("must be from 1 to %d items, not %d", MaxPerReplica, r.PerReplica)
	case r.EmptyIn != 0 && (r.EmptyIn < LeastEmptyIn || r.EmptyIn > MaxEmptyIn):
		return EmptyIn, fmt.Sprintf("must be from %s to %s, not %s", LeastEmptyIn, MaxEmptyIn, r.EmptyIn)
	case r.Max == 0:
		return Max, fmt.Sprintf("is missing, or 0: say how many replicas there may be, from 1 to %d, such as 50",
			bound.MaxReplicas)
	case r.Max < 1 || r.Max > bound.MaxReplicas:
		return Max, fmt.Sprintf("must be from 1 to %d replicas, not %d", bound.MaxReplicas, r.Max)
	case r.Min < 0:
		return Min, fmt.Sprintf("must be 0 or more, not %d", r.Min)
	case r.Min > r.Max:
		return Min, fmt.Sprintf("is %d, more than max, which is %d", r.Min, r.Max)
	}
	return "", ""
}

// String returns "urls, 200 a replica, 0 to 50".
func (r Rule) String() string {
	how := fmt.Sprintf("%d a replica", r.PerReplica)
	if r.EmptyIn > 0 {
		how = "empty in " + Text(r.EmptyIn)
	}
	return fmt.Sprintf("%s, %s, %d to %d", r.Queue, how, r.Min, r.Max)
}

// Text returns a duration without what is 0 in it: 2h, 1h30m.
func Text(d time.Duration) string {
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
