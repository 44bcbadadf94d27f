package member

import (
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Restored returns the documents of a list for a cluster that is restored from a backup: in its new
// swarm nobody is bound to a node yet, and all may join it, as if they had just been let in: as a manager who
// was one when Swarm was looked at last, and as a worker who was demoted. Who was removed stays out.
func Restored(docs state.Contents, now time.Time) (state.Contents, error) {
	return freed(docs, now, func(string) bool { return true })
}

// Without returns the documents of a list for a swarm that goes on without some of its nodes, by Swarm's
// IDs: they may join it again, as if they had just been let in.
func Without(docs state.Contents, now time.Time, nodes []string) (state.Contents, error) {
	return freed(docs, now, func(id string) bool { return slices.Contains(nodes, id) })
}

// freed binds nobody to nodes of Swarm that are gone.
func freed(docs state.Contents, now time.Time, gone func(id string) bool) (state.Contents, error) {
	d, err := decode(docs)
	if err != nil {
		return nil, err
	}
	for id, n := range d.list {
		if len(n.Bound) == 0 || gone(n.Bound[len(n.Bound)-1]) {
			if d.state.demoted(n) {
				n.Role = fleet.RoleWorker
			}
			n.Bound, n.Swarm, n.Joined = nil, "", now.UTC().Truncate(time.Second)
			d.list[id] = n
		}
	}
	d.state.Managers, d.written = slices.DeleteFunc(slices.Clone(d.state.Managers), gone), nil
	return encode(d)
}

// demoted reports whether a node is no manager any more that its certificate could be one of. What is bound to
// none has yet to be one.
func (p progress) demoted(n Member) bool {
	return len(n.Bound) > 0 && len(p.Managers) > 0 && !slices.Contains(p.Managers, n.Bound[len(n.Bound)-1])
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

// Addresses returns where the nodes of a state ask from, but for those that were removed. It is empty where
// the list can't be read.
func Addresses(view *state.View) (addrs []netip.Addr) {
	data, err := view.Document(state.Members)
	if err != nil {
		return nil
	}
	list, _ := Parse(data)
	for _, n := range list {
		if addr := n.Remote.Unmap(); addr.IsValid() && !n.gone() {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// Parse reads a list from its document, for who looks at the state and changes nothing.
func Parse(data []byte) (list []Member, err error) {
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, state.Damaged(state.Members, err)
	}
	return list, nil
}
