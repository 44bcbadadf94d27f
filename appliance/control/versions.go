package control

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// upgrades are what is to be known of upgrades: that of this node and, on the manager,
// that of the cluster.
func (b *Backend) upgrades() (list []string) {
	if s, err := b.Upgradable.State(); err != nil {
		list = append(list, err.Error())
	} else if problem := s.Problem(); problem != "" {
		list = append(list, problem)
	}
	if b.Offers != nil {
		list = append(list, mixed(b.Gossip.Members())...)
	}
	return list
}

// mixed says so where nodes run different versions: an upgrade is under way, or was
// broken off.
func mixed(members []gossip.Member) []string {
	by := map[string][]string{}
	for _, m := range members {
		if m.State == gossip.Alive {
			by[m.Version] = append(by[m.Version], m.Name)
		}
	}
	if len(by) < 2 {
		return nil
	}
	var parts []string
	for _, version := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, version+" on "+some(by[version]))
	}
	return []string{fmt.Sprintf("the nodes run different versions of crawlbox: %s; unless an upgrade is under way, bring them to one with `crawlbox upgrade --from FILE`", strings.Join(parts, ", "))}
}

// some are the first few of a list of names.
func some(names []string) string {
	slices.Sort(names)
	const most = 3
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}
