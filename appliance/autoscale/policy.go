package autoscale

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// What a Policy takes unless it is given other times.
const (
	Double = 30 * time.Second
	Below  = 5 * time.Minute
)

// Queue is what is seen of a key.
type Queue struct {
	Waiting  int64 `json:"waiting"`
	InFlight int64 `json:"in_flight"` // that somebody holds; 0 where nothing is leased
	Leased   bool  `json:"leased"`    // it is known who holds items
	Counted  bool  `json:"-"`         // Out is known
	Out      int64 `json:"-"`         // how many have gone out since some time
}

// Seen is what there is of a service.
type Seen struct {
	Rule       scalerule.Rule
	Replicas   int // that Swarm is asked for
	Slots      []Slot
	Queue      Queue
	Unreadable string // why the queue can't be read; empty: it can
	Busy       string // why nothing may be changed now; empty: it may
	Room       int    // replicas that the nodes bear; 0: any number
}

// Decision is what to do about a service.
type Decision struct {
	Replicas int  // to ask Swarm for
	Again    bool // those that have ended are started too
	Change   bool
	Wanted   int // that the queue asks for; -1: not known
	Why      string
}

// Policy decides for one service. It is not safe for concurrent use; the empty one is ready.
type Policy struct {
	Double time.Duration // within which replicas are doubled at the most; 0: 30 s
	Below  time.Duration // for how long fewer have to be enough; 0: 5 min

	rate rate

	upAt    time.Time // when the last doubling began
	upFrom  int       // how many there were then
	upTo    int       // the most that was asked for since
	since   time.Time // when the queue began to be seen all the time; zero: it is not
	highest []sample  // what was wanted of late, each less than the one before
	endedAt time.Time // when replicas were seen last that had ended by themselves
}

// endsFor is for how long replicas are taken to end by themselves after some have: where nobody knows who holds items,
// those that run are at work then.
const endsFor = time.Hour

// sample is how many replicas were wanted until a time.
type sample struct {
	wanted int
	until  time.Time // zero: it is so now
}

// Rate returns how many items a replica takes in a second; 0: that is not known.
func (p *Policy) Rate() float64 { return p.rate.perSecond() }

// Decide returns what to do about what is seen at a time.
func (p *Policy) Decide(now time.Time, s Seen) Decision {
	stay := Decision{Replicas: s.Replicas, Wanted: -1}
	if s.Unreadable != "" {
		p.since, p.highest = time.Time{}, nil
		stay.Why = "the queue can't be read, so it stays as it is: " + s.Unreadable
		return stay
	}
	live, running := s.count()
	if live < s.Replicas {
		p.endedAt = now
	}
	p.rate.see(now, running, s.Queue)
	wanted, how := p.wanted(s, live)
	p.note(now, wanted)
	if stay.Wanted = wanted; s.Busy != "" {
		stay.Why = s.Busy
		return stay
	}
	if d, decided := p.up(now, s, live, wanted, how); decided {
		return d
	}
	return p.down(now, s, live, wanted, how)
}

// count returns how many replicas run or will, and how many of them run now.
func (s Seen) count() (live, running int) {
	ended := 0
	for _, slot := range s.Slots {
		if slot.Ended {
			ended++
		} else if slot.Running {
			running++
		}
	}
	return max(0, s.Replicas-ended), running
}

// wanted returns how many replicas the queue asks for within the bounds of the rule, and how that was found.
func (p *Policy) wanted(s Seen, live int) (n int, how string) {
	backlog := s.Queue.Waiting + s.Queue.InFlight
	how = fmt.Sprintf("%d waiting", s.Queue.Waiting)
	if s.Queue.InFlight > 0 {
		how += fmt.Sprintf(", %d in flight", s.Queue.InFlight)
	}
	per := float64(s.Rule.PerReplica)
	switch r := p.rate.perSecond(); {
	case s.Rule.PerReplica > 0:
		how += fmt.Sprintf(", %d a replica", s.Rule.PerReplica)
	case r > 0:
		per = math.Max(1, r*s.Rule.EmptyIn.Seconds())
		how += fmt.Sprintf(", a replica takes %.3g a minute", r*60)
	case backlog > 0:
		how += ", how many a replica takes is not known yet"
		per = float64(backlog) / math.Max(1, float64(live))
	}
	asked := 0
	if backlog > 0 {
		asked = int(math.Min(math.Ceil(float64(backlog)/per), math.MaxInt32))
	}
	n = min(max(asked, s.Rule.Min), s.Rule.Max)
	if s.Room > 0 {
		n = min(n, s.Room)
	}
	how = fmt.Sprintf("%s: %d wanted", how, asked)
	if n != asked {
		how += fmt.Sprintf(", %d allowed", n)
	}
	return n, how
}

// note remembers what is wanted at a time.
func (p *Policy) note(now time.Time, wanted int) {
	if p.since.IsZero() {
		p.since = now
	}
	if n := len(p.highest); n > 0 && p.highest[n-1].until.IsZero() {
		p.highest[n-1].until = now
	}
	for len(p.highest) > 0 && p.highest[len(p.highest)-1].wanted <= wanted {
		p.highest = p.highest[:len(p.highest)-1]
	}
	p.highest = append(p.highest, sample{wanted: wanted})
	for first := p.highest[0]; !first.until.IsZero() && now.Sub(first.until) >= p.below(); first = p.highest[0] {
		p.highest = p.highest[1:]
	}
}

func (p *Policy) below() time.Duration {
	if p.Below > 0 {
		return p.Below
	}
	return Below
}

func (p *Policy) double() time.Duration {
	if p.Double > 0 {
		return p.Double
	}
	return Double
}

// up decides where there are too few. What has ended by itself is started again only for items that wait.
func (p *Policy) up(now time.Time, s Seen, live, wanted int, how string) (d Decision, decided bool) {
	d = Decision{Replicas: s.Replicas, Wanted: wanted}
	if s.Queue.Waiting == 0 {
		if least := min(s.Rule.Min, wanted); s.Replicas < least {
			d.Replicas, d.Again, d.Change = least, live == 0, true
			d.Why = fmt.Sprintf("at least %d", least)
		}
		return d, d.Change
	}
	if live >= wanted {
		return d, false
	}
	if p.upAt.IsZero() || now.Sub(p.upAt) >= p.double() {
		p.upAt, p.upFrom, p.upTo = now, live, live
	}
	to := min(wanted, max(2*p.upFrom, 1, min(s.Rule.Min, wanted)))
	if to <= p.upTo || to <= live {
		d.Why = fmt.Sprintf("%s; from %d to %d for now, more in %s", how, p.upFrom, p.upTo,
			(p.double() - now.Sub(p.upAt)).Round(time.Second))
		return d, true
	}
	p.upTo = to
	ended := s.Replicas - live
	// Those that have ended stay in Swarm's count, since it starts them again only together with the ones that run.
	d.Replicas, d.Again, d.Change = min(ended+to, max(s.Replicas, 2*s.Rule.Max)), false, true
	if live == 0 {
		d.Replicas, d.Again = to, true
	}
	d.Why = how
	if to < wanted {
		d.Why += fmt.Sprintf("; %d at first", to)
	}
	d.Change = d.Again || d.Replicas != s.Replicas
	return d, true
}

// down decides where there may be too many.
func (p *Policy) down(now time.Time, s Seen, live, wanted int, how string) Decision {
	d := Decision{Replicas: s.Replicas, Wanted: wanted, Why: how}
	to, ended := p.highest[0].wanted, 0
	if s.Queue.Waiting > 0 {
		ended = s.Replicas - live // which are no replicas
	}
	switch to += ended; {
	case wanted+ended >= s.Replicas:
		return d
	case to >= s.Replicas, now.Sub(p.since) < p.below():
		d.Why += "; fewer when that is enough for " + scalerule.Text(p.below())
		return d
	case s.Queue.Waiting > 0 && !s.Queue.Leased:
		d.Why += "; nobody knows who holds items, so fewer when none waits"
		return d
	}
	remain, inTheWay := fewest(s.slots(!s.Queue.Leased && now.Sub(p.endedAt) < endsFor), to)
	if remain >= s.Replicas {
		d.Why += fmt.Sprintf("; %d would do, and Swarm may end %s first, which is at work", to, inTheWay.Task)
		return d
	}
	d.Replicas, d.Change = remain, true
	d.Why = fmt.Sprintf("%s; no more than %s in %s, and what ends holds no item", how,
		words.Count(p.highest[0].wanted, "replica"), scalerule.Text(p.below()))
	if remain == 0 {
		d.Why = "nothing has waited or been in flight for " + scalerule.Text(p.below())
	}
	return d
}

// slots returns all slots. Those that run hold an item, as far as that is known, or where all are taken to be at work.
func (s Seen) slots(atWork bool) []Slot {
	slots := slices.Clone(s.Slots)
	for len(slots) < s.Replicas { // which Swarm has not made yet
		slots = append(slots, Slot{})
	}
	for i := range slots {
		slots[i].Holds = slots[i].Holds || atWork && slots[i].Running
	}
	return slots
}

// Containers returns those of the replicas that Swarm may end when so many are to remain.
func (s Seen) Containers(remain int) (ids []string) {
	for _, slot := range Victims(s.slots(false), remain) {
		if slot.Container != "" && !slot.Ended {
			ids = append(ids, slot.Container)
		}
	}
	return ids
}

// With returns a decision for fewer replicas with what is seen now of who holds items: not so few may do.
func (d Decision) With(s Seen) Decision {
	remain, inTheWay := fewest(s.slots(false), d.Replicas)
	if d.Replicas, d.Change = remain, remain < s.Replicas; !d.Change {
		d.Why += fmt.Sprintf("; %s took one just now", inTheWay.Task)
	}
	return d
}

// Undo takes back what the last decision left in the policy, since nothing came of it.
func (p *Policy) Undo() { p.upAt = time.Time{} }
