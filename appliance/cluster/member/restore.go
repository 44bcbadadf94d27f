package member

import (
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// Restored returns the documents of a list for a cluster that is restored from a backup: in its new
// swarm nobody is bound to a node yet, and all may join it, as if they had just been let in. Who was
// removed stays out.
func Restored(docs state.Contents, now time.Time) (state.Contents, error) {
	d, err := decode(docs)
	if err != nil {
		return nil, err
	}
	for id, n := range d.list {
		n.Bound, n.Swarm, n.Joined = nil, "", now.UTC().Truncate(time.Second)
		d.list[id] = n
	}
	d.state.Managers, d.written = nil, nil
	return encode(d)
}

// Welcome has a node that Swarm does not have be one that has just been let in, for a cluster that was
// restored. It reports whether there is one that Swarm has to get.
func (m *List) Welcome(id string) (bool, error) {
	n, ok := m.Get(id)
	if !ok || len(n.Bound) > 0 {
		return false, nil
	}
	n.Joined = time.Now().UTC().Truncate(time.Second)
	return true, m.Put(n)
}
