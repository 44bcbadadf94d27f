package autoscale_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/autoscale"
	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
)

// queueOf reads "12" or, with leases, "12+3".
func queueOf(t *testing.T, text string) autoscale.Queue {
	t.Helper()
	waiting, flight, _ := strings.Cut(text, "+")
	q := autoscale.Queue{}
	var err error
	if q.Waiting, err = strconv.ParseInt(waiting, 10, 64); err != nil {
		t.Fatal(err)
	}
	if flight != "" {
		if q.InFlight, err = strconv.ParseInt(flight, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return q
}

// world is a queue, replicas that work it off, and Swarm, by a clock that is turned by hand.
type world struct {
	now      time.Time
	waiting  int
	replicas int
	workers  []worker
	leaves   bool // a worker ends when nothing waits
	done     int
	lost     int // items whose workers were ended
	out      int64
}

type worker struct {
	autoscale.Slot
	starts time.Time // when its container runs
	until  time.Time // when it has done its item
}

// tick lets a second pass.
func (w *world) tick() {
	w.now = w.now.Add(time.Second)
	for i := range w.workers {
		x := &w.workers[i]
		if !x.Running && !x.Ended && !w.now.Before(x.starts) {
			x.Running = true
		}
		if x.Holds && !w.now.Before(x.until) {
			x.Holds = false
			w.done++
		}
		if !x.Running || x.Holds {
			continue
		}
		switch {
		case w.waiting > 0:
			w.waiting--
			w.out++
			x.Holds, x.until = true, w.now.Add(time.Duration(5+rand.IntN(10))*time.Second)
		case w.leaves:
			x.Running, x.Ended = false, true
		}
	}
}

// scale does what Swarm does.
func (w *world) scale(n int, again bool) {
	w.replicas = n
	var slots []autoscale.Slot
	for _, x := range w.workers {
		slots = append(slots, x.Slot)
	}
	if again {
		slots, w.workers = nil, nil
	}
	kept, ended := ends(slots, n)
	for _, s := range ended {
		if s.Holds {
			w.lost++
		}
	}
	w.workers = slices.DeleteFunc(w.workers, func(x worker) bool {
		return !slices.ContainsFunc(kept, func(s autoscale.Slot) bool { return s.Number == x.Number })
	})
	for number := 1; len(w.workers) < n; number++ {
		if slices.ContainsFunc(w.workers, func(x worker) bool { return x.Number == number }) {
			continue
		}
		on := map[string]int{"a": 0, "b": 0, "c": 0}
		for _, x := range w.workers {
			on[x.Node]++
		}
		node := "a"
		for _, other := range []string{"b", "c"} {
			if on[other] < on[node] {
				node = other
			}
		}
		w.workers = append(w.workers, worker{
			Slot:   autoscale.Slot{Number: number, Task: fmt.Sprint("spider.", number), Node: node},
			starts: w.now.Add(3 * time.Second),
		})
	}
}

func (w *world) seen(rule scalerule.Rule) autoscale.Seen {
	s := autoscale.Seen{Rule: rule, Replicas: w.replicas}
	s.Queue = autoscale.Queue{Waiting: int64(w.waiting), Leased: true, Counted: true, Out: w.out}
	for _, x := range w.workers {
		s.Slots = append(s.Slots, x.Slot)
		if x.Holds {
			s.Queue.InFlight++
		}
	}
	return s
}

// TestPolicy_Hour is an hour of a crawl: nothing, one item, a flood, a trickle, and nothing again. Replicas go from 0
// to 50 and back to 0, by at most twice as many within 30 s, and no replica ends that holds an item.
func TestPolicy_Hour(t *testing.T) {
	t.Parallel()
	for name, leaves := range map[string]bool{"spiders that end when nothing waits": true, "ones that stay": false} {
		for rules, rule := range map[string]scalerule.Rule{
			"per replica": {Queue: "k", PerReplica: 100, Max: 50},
			"empty in":    {Queue: "k", EmptyIn: 10 * time.Minute, Max: 50},
		} {
			t.Run(name+", "+rules, func(t *testing.T) {
				t.Parallel()
				w := &world{now: began, leaves: leaves}
				var p autoscale.Policy
				pushed, most, decisions := 0, 0, 0
				ups := map[time.Time]int{} // live replicas before each
				for second := range 3600 {
					push := 0
					switch {
					case second == 300:
						push = 1
					case second == 420:
						push = 6000
					case second > 420 && second < 1200 && second%10 == 0:
						push = 20
					case second > 1800 && second < 2100 && second%30 == 0: // a trickle
						push = 1
					}
					w.waiting += push
					pushed += push
					if w.tick(); second%5 > 0 {
						continue
					}
					seen := w.seen(rule)
					d := p.Decide(w.now, seen)
					if d.Why == "" {
						t.Fatalf("a decision without a reason: %+v", d)
					}
					if !d.Change {
						continue
					}
					decisions++
					live := 0
					for _, s := range seen.Slots {
						if !s.Ended {
							live++
						}
					}
					w.scale(d.Replicas, d.Again)
					after := 0
					for _, x := range w.workers {
						if !x.Ended {
							after++
						}
					}
					if after > live {
						ups[w.now] = live
					}
					for at, before := range ups {
						if w.now.Sub(at) < 30*time.Second && after > max(1, 2*before) {
							t.Errorf("%s: from %d to %d within 30 s", w.now.Sub(began), before, after)
						}
					}
					most = max(most, after)
				}
				if w.lost > 0 {
					t.Errorf("%d items were held by replicas that were ended", w.lost)
				}
				if w.done != pushed || most != 50 || w.replicas != 0 {
					t.Errorf("%d of %d items are done, by %d replicas at the most; in the end there are %d", w.done,
						pushed, most, w.replicas)
				}
				t.Logf("%d items, %d decisions", w.done, decisions)
			})
		}
	}
}
