package alerts

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// maxQueues bounds the keys of the queue that are followed, by their names: those that have most.
	maxQueues = 100
	// samples is how often within the time of the rule a queue is looked at.
	samples = 6
)

// Queue is how much there is in a key of the queue.
type Queue struct {
	Key       string
	Len, Dead int64
}

// Sampled returns the state with how long the queues are now, where it is time for that: over is how long a queue may
// not get shorter.
func (s State) Sampled(queues []Queue, over time.Duration, now time.Time) State {
	every := over / samples
	last := time.Time{}
	for _, list := range s.Queues {
		if at := list[len(list)-1].At; at.After(last) {
			last = at
		}
	}
	if now.Sub(last) < every && !now.Before(last) {
		return s
	}
	queues = slices.Clone(queues)
	slices.SortStableFunc(queues, func(a, b Queue) int { return int(min(1, max(-1, b.Len+b.Dead-a.Len-a.Dead))) })
	next := map[string][]Sample{}
	for _, q := range queues[:min(len(queues), maxQueues)] {
		if q.Len+q.Dead == 0 || len(q.Key) > maxSubject {
			continue
		}
		list := append(slices.Clone(s.Queues[q.Key]), Sample{now.UTC(), q.Len, q.Dead})
		if len(list) > 1 && list[len(list)-2].At.Before(now.Add(-2*every-time.Minute)) {
			list = list[len(list)-1:] // nobody has looked for a while
		}
		next[q.Key] = list[max(0, len(list)-samples-1):]
	}
	s.Queues = next
	if len(next) == 0 {
		s.Queues = nil
	}
	return s
}

// Stuck returns facts of queues that have not got shorter, with a rule.
func (s State) Stuck(rule string, queues []Queue) (facts []Fact) {
	for _, q := range queues {
		list := s.Queues[q.Key]
		if len(list) <= samples || q.Len == 0 {
			continue
		}
		shrinks := false
		for i, is := range list {
			next := q.Len
			if i+1 < len(list) {
				next = list[i+1].Len
			}
			shrinks = shrinks || next < is.Len || is.Len == 0
		}
		if !shrinks {
			facts = append(facts, Fact{rule, q.Key, Warning, fmt.Sprintf("the queue %s has not got shorter since %s: "+
				"it had %d items then and has %d now; see `crawlbox queue watch`", q.Key,
				list[0].At.Format(time.RFC3339), list[0].Len, q.Len)})
		}
	}
	return facts
}

// Buried returns facts of queues whose dead items have become more since the last sample, or the one before, with a
// rule.
func (s State) Buried(rule string, queues []Queue) (facts []Fact) {
	for _, q := range queues {
		list := s.Queues[q.Key]
		had := int64(0)
		if n := len(list); n > 0 {
			had = list[max(0, n-2)].Dead
		} else if len(s.Queues) == 0 {
			continue // nobody has looked yet
		}
		if q.Dead > had {
			facts = append(facts, Fact{rule, q.Key, Warning, fmt.Sprintf("%d items of %s are dead, as they came back "+
				"too often, %d more than an hour ago or so; look with `crawlbox queue dead ls`", q.Dead, q.Key,
				q.Dead-had)})
		}
	}
	return facts
}

// Keys returns the keys that are followed.
func (s State) Keys() []string { return slices.Sorted(maps.Keys(s.Queues)) }
