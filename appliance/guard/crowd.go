package guard

import (
	"container/list"
	"net"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// crowd is the book of all strangers. It knows the group that holds the most of
// them without a search: groups lie in one list for each size, and as a group
// grows and shrinks by one, so does the largest size. Of groups of one size
// the first is the one that has had it longest.
//
// The Listener's mutex guards it.
type crowd struct {
	n      int
	groups map[netip.Prefix]*group
	bySize []*list.List // of *group; the last one that is not empty holds the largest
	top    int          // size of the largest group
}

// group is the strangers of one address, oldest first.
type group struct {
	prefix netip.Prefix
	conns  *list.List    // of *conn
	place  *list.Element // in crowd.bySize[len]
}

func newCrowd() *crowd {
	return &crowd{groups: map[netip.Prefix]*group{}, bySize: []*list.List{list.New()}}
}

func (g *group) len() int { return g.conns.Len() }

func (g *group) oldest() *conn { return g.conns.Front().Value.(*conn) }

// largest returns the group with the most strangers. There must be one.
func (w *crowd) largest() *group { return w.bySize[w.top].Front().Value.(*group) }

// add books a stranger and returns its group.
func (w *crowd) add(c *conn, prefix netip.Prefix) *group {
	g := w.groups[prefix]
	if g == nil {
		g = &group{prefix: prefix, conns: list.New()}
		w.groups[prefix] = g
		g.place = w.bySize[0].PushBack(g)
	}
	c.group, c.place = g, g.conns.PushBack(c)
	w.n++
	w.moved(g, g.len()-1)
	return g
}

// remove takes a stranger out that is in.
func (w *crowd) remove(c *conn) {
	g := c.group
	g.conns.Remove(c.place)
	c.group, c.place = nil, nil
	w.n--
	w.moved(g, g.len()+1)
	if g.len() == 0 {
		w.bySize[0].Remove(g.place)
		delete(w.groups, g.prefix)
	}
}

// moved puts a group that had another size among those of its size.
func (w *crowd) moved(g *group, was int) {
	now := g.len()
	if now == len(w.bySize) {
		w.bySize = append(w.bySize, list.New())
	}
	w.bySize[was].Remove(g.place)
	g.place = w.bySize[now].PushBack(g)
	if now > w.top || was == w.top && w.bySize[was].Len() == 0 {
		w.top = now
	}
}

// groupOf returns whose places a connection takes. Connections without an IP address
// are one group.
func groupOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	return bound.Prefix(tcp.AddrPort().Addr())
}
