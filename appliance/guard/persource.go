package guard

import (
	"container/list"
	"net"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// perSourceLimit counts the strangers of each address. It finds the group that holds the most of
// them without a search: groups lie in one list for each size, and as a group
// grows and shrinks by one, so does the largest size. Of groups of one size
// the first is the one that has had it longest.
//
// The Listener's mutex guards it.
type perSourceLimit struct {
	n      int
	groups map[netip.Prefix]*group
	bySize []*list.List // of *group; the last one that is not empty holds the largest
	top    int          // size of the largest group
}

// group holds the strangers of one address, oldest first.
type group struct {
	prefix netip.Prefix
	conns  *list.List    // of *conn
	place  *list.Element // in perSourceLimit.bySize[len]
}

func newPerSourceLimit() *perSourceLimit {
	return &perSourceLimit{groups: map[netip.Prefix]*group{}, bySize: []*list.List{list.New()}}
}

func (g *group) len() int { return g.conns.Len() }

func (g *group) oldest() *conn { return g.conns.Front().Value.(*conn) }

// largest returns the group with the most strangers. There must be one.
func (p *perSourceLimit) largest() *group { return p.bySize[p.top].Front().Value.(*group) }

// add books a stranger and returns its group.
func (p *perSourceLimit) add(c *conn, prefix netip.Prefix) *group {
	g := p.groups[prefix]
	if g == nil {
		g = &group{prefix: prefix, conns: list.New()}
		p.groups[prefix] = g
		g.place = p.bySize[0].PushBack(g)
	}
	c.group, c.place = g, g.conns.PushBack(c)
	p.n++
	p.moved(g, g.len()-1)
	return g
}

// remove takes a stranger out that is in.
func (p *perSourceLimit) remove(c *conn) {
	g := c.group
	g.conns.Remove(c.place)
	c.group, c.place = nil, nil
	p.n--
	p.moved(g, g.len()+1)
	if g.len() == 0 {
		p.bySize[0].Remove(g.place)
		delete(p.groups, g.prefix)
	}
}

// moved puts a group that had another size among those of its size.
func (p *perSourceLimit) moved(g *group, was int) {
	now := g.len()
	if now == len(p.bySize) {
		p.bySize = append(p.bySize, list.New())
	}
	p.bySize[was].Remove(g.place)
	g.place = p.bySize[now].PushBack(g)
	if now > p.top || was == p.top && p.bySize[was].Len() == 0 {
		p.top = now
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
