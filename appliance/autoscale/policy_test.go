package autoscale_test

import (
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/autoscale"
	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
)

var began = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// look is one look at a service, and what is decided.
type look struct {
	at     time.Duration
	queue  string // waiting, waiting+flight, or "?" where it can't be read
	slots  string // see slotsOf; empty: as many as were decided, all running
	want   int    // replicas
	why    string // a part of it
	leased bool
}

const (
	s = time.Second
	m = time.Minute
)

var hundred = scalerule.Rule{Queue: "k", PerReplica: 100, Max: 50}

func TestPolicy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule  scalerule.Rule
		from  int
		looks []look
	}{
		"up at once, doubling within 30 s": {hundred, 0, []look{
			{at: 0, queue: "0", want: 0, why: "0 waiting"},
			{at: 5 * s, queue: "1", want: 1, why: "1 waiting, 100 a replica: 1 wanted"},
			{at: 10 * s, queue: "900", want: 1, why: "from 0 to 1 for now, more in 25s"},
			{at: 35 * s, queue: "900", want: 2, why: "900 waiting, 100 a replica: 9 wanted; 2 at first"},
			{at: 64 * s, queue: "900", want: 2, why: "more in 1s"},
			{at: 65 * s, queue: "900", want: 4, why: "9 wanted"},
			{at: 95 * s, queue: "900", want: 8},
			{at: 100 * s, queue: "901", want: 8},
			{at: 125 * s, queue: "901", want: 10, why: "10 wanted"},
		}},
		"a second step within the doubling": {hundred, 4, []look{
			{at: 0, queue: "500", want: 5},
			{at: 5 * s, queue: "600", want: 6},
			{at: 10 * s, queue: "5000", want: 8, why: "8 at first"},
			{at: 20 * s, queue: "5000", want: 8, why: "more in 10s"},
			{at: 30 * s, queue: "5000", want: 16},
		}},
		"no more than max": {scalerule.Rule{Queue: "k", PerReplica: 1, Max: 3}, 2, []look{
			{at: 0, queue: "9000", want: 3, why: "9000 wanted, 3 allowed"},
			{at: 60 * s, queue: "9000", want: 3, why: "9000 wanted, 3 allowed"},
		}},
		"min at once, and at least": {scalerule.Rule{Queue: "k", PerReplica: 100, Min: 3, Max: 5}, 0, []look{
			{at: 0, queue: "0", want: 3, why: "at least 3"},
			{at: 10 * m, queue: "0", want: 3},
		}},
		"down after 5 min, to the most of that time": {hundred, 8, []look{
			{at: 0, queue: "750", leased: true, want: 8},
			{at: 1 * m, queue: "150", leased: true, want: 8, why: "2 wanted; fewer when that is enough for 5m"},
			{at: 2 * m, queue: "250", leased: true, want: 8},
			{at: 4 * m, queue: "50", leased: true, want: 8},
			{at: 6*m - s, queue: "50", leased: true, want: 8},
			{at: 6 * m, queue: "50", leased: true, want: 3, why: "no more than 3 replicas in 5m"},
			{at: 9*m - s, queue: "50", leased: true, want: 3, why: "fewer when"},
			{at: 9 * m, queue: "50", leased: true, want: 1},
		}},
		"a peak begins the time anew": {hundred, 4, []look{
			{at: 0, queue: "50", leased: true, want: 4},
			{at: 4 * m, queue: "350", leased: true, want: 4},
			{at: 5 * m, queue: "50", leased: true, want: 4},
			{at: 10*m - s, queue: "50", leased: true, want: 4},
			{at: 10 * m, queue: "50", leased: true, want: 1},
		}},
		"to none when nothing waits or is in flight": {hundred, 2, []look{
			{at: 0, queue: "0+1", leased: true, want: 2},
			{at: 5 * m, queue: "0+0", leased: true, slots: "a1 b2", want: 1},
			{at: 10*m - s, queue: "0+0", leased: true, slots: "a1", want: 1},
			{at: 10 * m, queue: "0+0", leased: true, slots: "a1", want: 0, why: "nothing has waited or been in flight"},
		}},
		"only what holds nothing": {hundred, 4, []look{
			{at: 0, queue: "10+2", leased: true, slots: "a1+ a2+ b3 b4", want: 4},
			{at: 5 * m, queue: "10+2", leased: true, slots: "a1+ a2+ b3 b4", want: 4, why: "may end a2+ first, which"},
			{at: 6 * m, queue: "10+1", leased: true, slots: "a1+ a2 b3 b4", want: 2, why: "what ends holds no item"},
			{at: 7 * m, queue: "10+1", leased: true, slots: "a1+ b3", want: 2, why: "may end a1+"},
			{at: 8 * m, queue: "0+1", leased: true, slots: "a1+ b3", want: 2},
			{at: 9 * m, queue: "0+1", leased: true, slots: "a1+ a3", want: 1},
		}},
		"nobody knows who holds what": {hundred, 3, []look{
			{at: 0, queue: "10", want: 3},
			{at: 6 * m, queue: "10", want: 3, why: "nobody knows who holds items"},
			{at: 7 * m, queue: "0", want: 1},
			{at: 12*m - s, queue: "0", want: 1},
			{at: 12 * m, queue: "0", want: 0},
		}},
		"who ends when nothing is left is at work until then": {hundred, 4, []look{
			{at: 0, queue: "0", slots: "a1 a2 b3 b4", want: 4},
			{at: 5*m - s, queue: "0", slots: "a1. a2 b3. b4", want: 4},
			{at: 5 * m, queue: "0", slots: "a1. a2 b3. b4", want: 2}, // only what has ended
			{at: 60 * m, queue: "0", slots: "a2 b4", want: 2, why: "which is at work"},
			{at: 61 * m, queue: "0", slots: "a2 a4.", want: 1},
			{at: 62 * m, queue: "0", slots: "a2", want: 1},
			{at: 123 * m, queue: "0", slots: "a2", want: 0},
		}},
		"a queue that can't be read changes nothing": {hundred, 3, []look{
			{at: 0, queue: "0", want: 3},
			{at: 4 * m, queue: "?", want: 3, why: "can't be read"},
			{at: 8 * m, queue: "?", want: 3, why: "it is gone"},
			{at: 9 * m, queue: "0", want: 3, why: "fewer when"},
			{at: 14 * m, queue: "0", want: 0},
		}},
		"what has ended by itself is started again": {hundred, 3, []look{
			{at: 0, queue: "0", slots: "a1. a2. b3.", want: 3},
			{at: 1 * m, queue: "1", slots: "a1. a2. b3.", want: 1, why: "1 wanted"},
			{at: 1*m + 5*s, queue: "900", slots: "a1.", want: 1, why: "more in 25s"},
			{at: 2 * m, queue: "900", slots: "a1.", want: 1, why: "1 at first"},
		}},
		"what has ended is no replica": {hundred, 4, []look{
			{at: 0, queue: "300", slots: "a1. a2. b3 b4", want: 5}, // 2 ended, 3 run
			{at: 1 * m, queue: "300", slots: "a1. a2. b3 b4 a5", want: 5},
		}},
		"what has ended ends in Swarm's eyes too": {hundred, 2, []look{
			{at: 0, queue: "0", slots: "a1. a2.", want: 2},
			{at: 5 * m, queue: "0", slots: "a1. a2.", want: 0},
		}},
		"what Swarm has not made yet goes first": {hundred, 4, []look{
			{at: 0, queue: "10", leased: true, slots: "a1+ b2+", want: 4},
			{at: 5 * m, queue: "10", leased: true, slots: "a1+ b2+", want: 2},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p autoscale.Policy
			replicas := c.from
			for _, l := range c.looks {
				seen := seenOf(t, l, c.rule, replicas)
				d := p.Decide(began.Add(l.at), seen)
				if d.Replicas != l.want || !strings.Contains(d.Why, l.why) || d.Why == "" {
					t.Errorf("at %s with %s and %d: %d %q, want %d %q", l.at, l.queue, replicas, d.Replicas, d.Why,
						l.want, l.why)
				}
				if d.Change != (d.Replicas != replicas || d.Again) {
					t.Errorf("at %s: %+v of %d", l.at, d, replicas)
				}
				replicas = d.Replicas
			}
		})
	}
}

func seenOf(t *testing.T, l look, rule scalerule.Rule, replicas int) autoscale.Seen {
	t.Helper()
	seen := autoscale.Seen{Rule: rule, Replicas: replicas, Slots: slotsOf(l.slots)}
	if l.slots == "" {
		for i := range replicas {
			seen.Slots = append(seen.Slots, autoscale.Slot{Number: i + 1, Node: "a", Running: true})
		}
	}
	if l.queue == "?" {
		seen.Unreadable = "it is gone"
		return seen
	}
	seen.Queue = queueOf(t, l.queue)
	seen.Queue.Leased = l.leased
	return seen
}

func TestPolicy_Busy(t *testing.T) {
	t.Parallel()
	var p autoscale.Policy
	seen := autoscale.Seen{Rule: hundred, Replicas: 1, Queue: autoscale.Queue{Waiting: 900}, Busy: "it is updated"}
	if d := p.Decide(began, seen); d.Change || d.Replicas != 1 || d.Why != "it is updated" || d.Wanted != 9 {
		t.Errorf("%+v", d)
	}
	seen.Busy = ""
	if d := p.Decide(began, seen); d.Replicas != 2 {
		t.Errorf("%+v", d)
	}
}

func TestPolicy_Room(t *testing.T) {
	t.Parallel()
	var p autoscale.Policy
	seen := autoscale.Seen{Rule: hundred, Replicas: 4, Queue: autoscale.Queue{Waiting: 900}, Room: 6}
	if d := p.Decide(began, seen); d.Replicas != 6 || !strings.Contains(d.Why, "9 wanted, 6 allowed") {
		t.Errorf("%+v", d)
	}
}

// TestPolicy_EmptyIn: as many replicas as do in time what waits, by what a replica was seen to do; and as many as
// there are until that is known.
func TestPolicy_EmptyIn(t *testing.T) {
	t.Parallel()
	rule := scalerule.Rule{Queue: "k", EmptyIn: time.Hour, Max: 50}
	for name, counted := range map[string]bool{"counted": true, "by the length": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p autoscale.Policy
			replicas := 0
			decide := func(at time.Duration, waiting, out int64) autoscale.Decision {
				seen := autoscale.Seen{Rule: rule, Replicas: replicas}
				for i := range replicas {
					seen.Slots = append(seen.Slots, autoscale.Slot{Number: i + 1, Node: "a", Running: true})
				}
				seen.Queue = autoscale.Queue{Waiting: waiting, Counted: counted, Out: out}
				d := p.Decide(began.Add(at), seen)
				replicas = d.Replicas
				return d
			}
			if d := decide(0, 4000, 0); d.Replicas != 1 || !strings.Contains(d.Why, "not known yet") {
				t.Errorf("at first %+v", d)
			}
			// One replica takes one in ten seconds, 360 an hour.
			for i := int64(1); i <= 3; i++ {
				if d := decide(time.Duration(i)*10*s, 4000-i, i); d.Replicas != 1 {
					t.Errorf("after %d: %+v", i, d)
				}
			}
			if d := decide(40*s, 3996, 4); d.Replicas != 2 || d.Wanted != 12 ||
				!strings.Contains(d.Why, "takes 6 a minute") {
				t.Errorf("when it is known: %+v", d)
			}
			if r := p.Rate(); r < 0.099 || r > 0.101 {
				t.Errorf("the rate is %g", r)
			}
		})
	}
}

// TestPolicy_Rate: what says nothing about how fast a replica is does not count.
func TestPolicy_Rate(t *testing.T) {
	t.Parallel()
	rule := scalerule.Rule{Queue: "k", EmptyIn: time.Hour, Max: 50}
	for name, queues := range map[string][]autoscale.Queue{
		"it was empty":         {{Waiting: 90}, {}, {Waiting: 90}, {}},
		"it grew":              {{Waiting: 10}, {Waiting: 20}, {Waiting: 30}, {Waiting: 40}},
		"counted anew":         {{Waiting: 9, Counted: true, Out: 90}, {Waiting: 9, Counted: true, Out: 10}},
		"once counted":         {{Waiting: 9}, {Waiting: 9, Counted: true, Out: 1000}},
		"nothing goes out":     {{Waiting: 9}, {Waiting: 9}, {Waiting: 9}, {Waiting: 9}},
		"a gap of ten minutes": nil,
	} {
		step := 20 * s
		if queues == nil {
			queues, step = []autoscale.Queue{{Waiting: 9000}, {Waiting: 10}}, 10*m
		}
		var p autoscale.Policy
		for i, q := range queues {
			p.Decide(began.Add(time.Duration(i)*step), autoscale.Seen{
				Rule: rule, Replicas: 1, Slots: slotsOf("a1"), Queue: q,
			})
		}
		if r := p.Rate(); r != 0 {
			t.Errorf("%s: the rate is %g", name, r)
		}
	}
}
