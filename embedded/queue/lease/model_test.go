package lease_test

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/embedded/queue/lease"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// model is what the queues and the leases are meant to be. A key's kind is its first letter: l
// for lists, s for sets, z for sorted sets.
type model struct {
	testing.TB
	rules lease.Rules
	items map[string][]modelItem // by key; a sorted set in its order, a set in any
	held  map[string][]modelEntry
	tries map[modelItem]int
	dead  map[string][]string

	pushed, done map[string]int // how many of each item
	dropped      int            // leases that newer ones have ended
}

type modelItem struct {
	key, item string
	score     float64
}

// name is what an item is counted by.
func (i modelItem) name() modelItem { return modelItem{key: i.key, item: i.item} }

type modelEntry struct {
	modelItem
	left  bool // of a list: popped from there
	stamp string
}

func newModel(t testing.TB, rules lease.Rules) *model {
	return &model{
		TB:     t,
		rules:  rules,
		items:  map[string][]modelItem{},
		held:   map[string][]modelEntry{},
		tries:  map[modelItem]int{},
		dead:   map[string][]string{},
		pushed: map[string]int{},
		done:   map[string]int{},
	}
}

// put puts an item at an end of a list, or into a set that does not have it.
func (m *model) put(it modelItem, left bool) {
	all := m.items[it.key]
	switch {
	case it.key[0] != 'l' && slices.ContainsFunc(all, func(other modelItem) bool { return other.item == it.item }):
	case it.key[0] == 'l' && left:
		all = slices.Insert(all, 0, it)
	default:
		all = append(all, it)
	}
	if it.key[0] == 'z' {
		slices.SortFunc(all, func(a, b modelItem) int {
			return cmp.Or(cmp.Compare(a.score, b.score), strings.Compare(a.item, b.item))
		})
	}
	m.items[it.key] = all
}

// pop is a pop as it was generated, not as the code under test reads it.
type pop struct {
	args  []string
	name  string // of the command for one key
	keys  []string
	count int
}

// take pops from the first key that has something. Which members a set gives is known from
// the reply.
func (m *model) take(p pop, members []string) (key string, got []modelItem) {
	for _, key = range p.keys {
		if all := m.items[key]; len(all) > 0 {
			n := min(p.count, len(all))
			switch p.name {
			case "LPOP", "ZPOPMIN":
				got, m.items[key] = slices.Clone(all[:n]), all[n:]
			case "RPOP", "ZPOPMAX":
				got, m.items[key] = slices.Clone(all[len(all)-n:]), all[:len(all)-n]
				slices.Reverse(got)
			case "SPOP":
				if len(members) != n {
					m.Fatalf("%q popped %d members, want %d", p.args, len(members), n)
				}
				for _, member := range members {
					i := slices.IndexFunc(all, func(it modelItem) bool { return it.item == member })
					if i < 0 {
						m.Fatalf("%q popped %q, which %s does not have", p.args, member, key)
					}
					got = append(got, all[i])
					all = slices.Delete(all, i, i+1)
				}
				m.items[key] = all
			}
			return key, got
		}
	}
	return "", nil
}

// hold notes what a holder has popped.
func (m *model) hold(holder, stamp string, p pop, key string, got []modelItem) {
	safe := slices.Contains(m.rules.Safe, key)
	for _, it := range got {
		if !safe {
			m.done[it.item]++
			continue
		}
		m.held[holder] = append(m.held[holder], modelEntry{it, p.name == "LPOP", stamp})
	}
	keep := max(m.rules.Window, len(got))
	if !safe || len(got) == 0 ||
		len(m.held[holder]) <= keep+script.Slack && len(got[len(got)-1].item) < script.SlackBytes {
		return
	}
	for len(m.held[holder]) > keep {
		m.finish(m.held[holder][0])
		m.held[holder] = m.held[holder][1:]
		m.dropped++
	}
}

// live returns what a holder holds and is not done.
func (m *model) live(holder string) []modelEntry {
	all := m.held[holder]
	n := len(all)
	for n > 0 && (len(all)-n < m.rules.Window || all[n-1].stamp == all[len(all)-1].stamp) {
		n--
	}
	return all[n:]
}

func (m *model) finish(e modelEntry) {
	m.done[e.item]++
	delete(m.tries, e.name())
}

// settle ends one lease, and reports whether its item went back.
func (m *model) settle(holder string, e modelEntry, how string, most int) (back bool) {
	all := m.held[holder]
	for i := len(all) - 1; i >= 0; i-- {
		if all[i] == e {
			m.held[holder] = slices.Delete(all, i, i+1)
			if how == "done" {
				m.finish(e)
				return false
			}
			if how == "back" {
				m.tries[e.name()]++
				if m.tries[e.name()] >= most {
					m.dead[e.key] = append(m.dead[e.key], e.item)
					delete(m.tries, e.name())
					return false
				}
			}
			m.put(e.modelItem, e.left)
			return true
		}
	}
	m.Fatalf("%s does not hold %+v", holder, e)
	return false
}

// balance checks that each item is waiting, held, dead or done, as often as it was pushed.
func (m *model) balance() {
	m.Helper()
	are := maps.Clone(m.done)
	for _, all := range m.items {
		for _, it := range all {
			are[it.item]++
		}
	}
	for _, all := range m.held {
		for _, e := range all {
			are[e.item]++
		}
	}
	for _, all := range m.dead {
		for _, item := range all {
			are[item]++
		}
	}
	if !maps.Equal(are, m.pushed) {
		m.Fatalf("items are %v, want %v", are, m.pushed)
	}
}
