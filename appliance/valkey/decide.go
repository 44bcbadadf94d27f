package valkey

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// maxLag is Valkey's min-replicas-max-lag and repl-timeout, in seconds: a primary refuses writes, and drops its
	// replica, when that acknowledged nothing for so long. Both are the same, so that an acknowledgement which was held
	// up on the network comes to a connection that is gone.
	maxLag = 2
	// fenceTime is how long after its replica's last acknowledgement a primary refuses writes for certain: it counts
	// whole seconds, and looks once a second.
	fenceTime = (maxLag + 3) * time.Second
	// lostAfter is how long a primary may not be reached before its replica takes its place.
	lostAfter = 1500 * time.Millisecond
	// aloneAfter is how long a replica may be away before the primary goes on alone. It refuses writes meanwhile.
	aloneAfter = time.Second
)

// Observed is what was seen of an engine.
type Observed struct {
	Lost       time.Duration // how long it could not be reached or used; 0: it can
	Problem    string        // why
	Gone       bool          // its node is in the swarm no longer
	Configured bool          // it has been told who replicates since it started
	Fronts     bool          // it knows their user
	Epoch      int           // of its data; 0: it has none of this cluster
	Change     int           // of the document that it was told last
	Replica    bool          // it follows another
	Follows    string        // HOST:PORT of that
	User       string        // that it logs in there as
	Linked     bool          // it has all of the data of that, and gets what is new
	Wants      int           // min-replicas-to-write
	Offset     int64         // in the stream of writes
	Acked      int64         // how far its replica has acknowledged
	Followed   bool          // its replica acknowledges
	Memory     int64         // that data take, in bytes
	Version    string        // of Valkey
}

// Seen is what was seen of the engines at a moment, by slot.
type Seen map[int]Observed

// blank reports whether an engine has just begun, and without the data of this cluster's queue.
func (o Observed) blank(d Document) bool {
	return d.Begun && o.Lost == 0 && !o.Configured && !o.Replica && o.Epoch == 0
}

// Decide returns what the document is to be, and why it is to be another; "" where it stays.
func Decide(d Document, seen Seen) (next Document, why string) {
	e, r := d.primary()
	p := seen[d.Primary]
	if !d.Begun && p.Lost == 0 && p.Epoch == d.Epoch && d.Epoch > 0 {
		d.Begun, d.Fronts = true, p.Fronts
		return d, "Valkey runs"
	}
	if !d.Fronts && p.Fronts && !p.Replica {
		d.Fronts = true
		return d, "fronts have a user of their own"
	}
	if r == nil {
		return d, ""
	}
	is := seen[r.Slot]
	blank := p.blank(d)
	if p.Lost > 0 || blank {
		// A replica without the epoch's data was about to get them.
		able := is.Lost == 0 && is.Replica && is.Epoch == d.Epoch
		if able && (d.InSync && p.Lost >= lostAfter || blank || p.Gone) {
			return d.promote(*r), "the queue's Valkey on " + e.Name + " is lost"
		}
		return d, ""
	}
	follows := is.Lost == 0 && is.Replica && is.Linked && is.Follows == e.Addr.String() && p.Followed
	switch {
	case !follows && d.Fenced && is.away(aloneAfter):
		d.Fenced, d.InSync = false, false
		return d, "the replica on " + r.Name + " is lost"
	case follows && !d.Fenced:
		d.Fenced = true
		return d, "there is a replica on " + r.Name
	case follows && !d.InSync && p.told(d) && is.Epoch == d.Epoch:
		d.InSync = true
		return d, "the replica on " + r.Name + " has all of the queue"
	}
	return d, ""
}

// told reports whether a primary takes writes as the document says that is Fenced.
func (o Observed) told(d Document) bool {
	return o.Change == d.Change && o.Wants == 1 && o.Epoch == d.Epoch
}

// away reports whether a replica is away for long enough.
func (o Observed) away(d time.Duration) bool { return o.Lost >= d || o.Lost == 0 && !o.Linked }

// Manager is a node that an engine can be on, or was on before it was made a worker or drained.
type Manager struct {
	Engine
	Leads  bool // the swarm
	Usable bool // it is a manager and runs tasks, or will in a while
}

// Place returns the engines that there are to be. The primary stays where it is as long as that is in the swarm, since
// it has the data; it is moved by a hand-over. The replica leaves who is no manager any longer, and the leader of the
// swarm for one that does not lead.
func Place(d Document, managers []Manager) []Engine {
	var kept []Engine
	var free []Manager // those that lead last
	for _, m := range managers {
		i := slices.IndexFunc(d.Engines, func(e Engine) bool { return e.Node == m.Node })
		if i >= 0 && (m.Usable || d.Engines[i].Slot == d.Primary) {
			m.Slot, m.Image, m.Memory = d.Engines[i].Slot, d.Engines[i].Image, d.Engines[i].Memory
			kept = append(kept, m.Engine)
		} else if m.Usable {
			free = append(free, m)
		}
	}
	slices.SortStableFunc(free, func(a, b Manager) int { return last(a) - last(b) })
	leads := func(e Engine) bool {
		return slices.ContainsFunc(managers, func(m Manager) bool { return m.Node == e.Node && m.Leads })
	}
	if len(kept) == 2 && len(free) > 0 && !free[0].Leads {
		kept = slices.DeleteFunc(kept, func(e Engine) bool { return e.Slot != d.Primary && leads(e) })
	}
	for _, m := range free {
		if len(kept) == 2 {
			break
		}
		m.Slot, m.Image, m.Memory = 1, d.Image, d.Wanted.Memory
		if len(kept) == 1 && kept[0].Slot == 1 {
			m.Slot = 2
		}
		kept = append(kept, m.Engine)
	}
	for i, e := range kept { // the primary is started again when it is the replica
		if len(kept) == 1 || e.Slot != d.Primary {
			kept[i].Image, kept[i].Memory = d.Image, d.Wanted.Memory
		} else if was, ok := d.At(e.Slot); ok && was.Node == e.Node {
			kept[i].Addr = netip.AddrPortFrom(e.Addr.Addr(), was.Addr.Port())
		}
	}
	slices.SortFunc(kept, func(a, b Engine) int { return a.Slot - b.Slot })
	return kept
}

func last(m Manager) int {
	if m.Leads {
		return 1
	}
	return 0
}

// handsOver reports whether the primary is to hand over to its replica: it is on a node that is to be free of it, or
// has another image, memory or port, which the replica had first; or, unless that was done a moment ago, it is on the
// leader of the swarm, which the replica is not.
func handsOver(d Document, managers []Manager, lately bool) bool {
	p, r := d.primary()
	if r == nil || !d.InSync {
		return false
	}
	var on, to Manager
	for _, m := range managers {
		switch m.Node {
		case p.Node:
			on = m
		case r.Node:
			to = m
		}
	}
	other := p.Image != r.Image || p.Memory != r.Memory || p.Addr.Port() != on.Addr.Port()
	return to.Usable && (other || !on.Usable || on.Leads && !to.Leads && !lately)
}
