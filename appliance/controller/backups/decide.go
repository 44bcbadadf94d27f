package backups

import (
	"cmp"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// plan says which nodes get a backup.
type plan struct {
	have int          // nodes that have it
	next []fleet.Node // those that may get it, in order
}

// decide returns which nodes get a backup with a content. Those that keep an older one come first:
// else each backup would be elsewhere. One that does not answer gets none.
func decide(holders []backup.Holder, content string) (p plan) {
	var rest []backup.Holder
	for _, h := range holders {
		switch {
		case h.Err != nil:
		case h.Has(content):
			p.have++
		default:
			rest = append(rest, h)
		}
	}
	slices.SortFunc(rest, func(a, b backup.Holder) int {
		return cmp.Or(cmp.Compare(len(b.Copies), len(a.Copies)), cmp.Compare(a.Node.ID, b.Node.ID))
	})
	for _, h := range rest {
		p.next = append(p.next, h.Node)
	}
	return p
}
