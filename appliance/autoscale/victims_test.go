package autoscale_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/autoscale"
)

// slotsOf returns slots by where they are, such as "a1 b2- c3+ ?4": on node a, on b and not running, holding an item,
// nowhere.
func slotsOf(text string) (slots []autoscale.Slot) {
	for word := range strings.FieldsSeq(text) {
		s := autoscale.Slot{Node: strings.Trim(word[:1], "?"), Task: word, Running: true}
		for _, r := range word[1:] {
			switch r {
			case '-':
				s.Running = false
			case '.':
				s.Running, s.Ended = false, true
			case '+':
				s.Holds = true
			default:
				s.Number = 10*s.Number + int(r-'0')
			}
		}
		slots = append(slots, s)
	}
	return slots
}

func TestVictims(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		slots  string
		remain int
		want   string // sorted
	}{
		{"a1 a2 a3", 3, ""},
		{"a1 a2 a3", 2, "a3"},
		{"a3 a1 a2", 1, "a2 a3"},
		{"a1 a2 a3", 0, "a1 a2 a3"},
		{"a1 a2 a3 b4", 3, "a3"},
		{"a1 a2 a3 b4", 2, "a2 a3"},
		{"a1 a2 b3 b4", 3, "a2 b4"}, // which of the nodes is not known
		{"a1 a2 b3 b4", 2, "a2 b4"},
		{"a1 a2 b3 b4", 1, "a1 a2 b3 b4"},
		{"a1 a2 b3 ?4", 3, "?4"},
		{"a1 a2 b3 ?4", 2, "?4 a2"},
		{"a1- a2 a3 b4", 3, "a1- a3"}, // what does not run comes last on its node, unless it runs by then
		{"a1- a2 a3 b4", 2, "a1- a2 a3"},
		{"a1. a2 a3 b4", 3, "a1."}, // it does not begin again
		{"a1 a2 a3- b4", 3, "a3-"},
		{"a9 a10 a11", 2, "a11"},
	} {
		var got []string
		for _, s := range autoscale.Victims(slotsOf(c.slots), c.remain) {
			got = append(got, s.Task)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("of %s remain %d: %q may end, want %q", c.slots, c.remain, got, c.want)
		}
	}
}

// ends is what Swarm ends, with dice where it does not say itself.
func ends(slots []autoscale.Slot, remain int) (kept, ended []autoscale.Slot) {
	slots = slices.Clone(slots)
	slices.SortFunc(slots, func(a, b autoscale.Slot) int {
		if a.Running != b.Running {
			return map[bool]int{true: -1, false: 1}[a.Running]
		}
		return cmp.Compare(a.Number, b.Number)
	})
	type indexed struct {
		autoscale.Slot
		index int
	}
	onNode, list := map[string]int{}, []indexed{}
	for _, s := range slots {
		index := 1 << 30
		if s.Node != "" {
			onNode[s.Node]++
			index = onNode[s.Node]
		}
		list = append(list, indexed{s, index})
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	slices.SortStableFunc(list, func(a, b indexed) int { return cmp.Compare(a.index, b.index) })
	for i, s := range list {
		if i < remain {
			kept = append(kept, s.Slot)
		} else {
			ended = append(ended, s.Slot)
		}
	}
	return kept, ended
}

// TestVictims_All: whatever Swarm ends is among those that it may end, also when some run by then that did not.
func TestVictims_All(t *testing.T) {
	t.Parallel()
	for range 2_000 {
		var slots []autoscale.Slot
		for i := range 1 + rand.IntN(12) {
			node := string("abc?"[rand.IntN(4)])
			slots = append(slots, autoscale.Slot{
				Number: i + 1, Node: strings.Trim(node, "?"), Running: node != "?" && rand.IntN(4) > 0,
			})
		}
		remain := rand.IntN(len(slots) + 1)
		may := autoscale.Victims(slots, remain)
		by := slices.Clone(slots)
		for i := range by {
			by[i].Running = by[i].Node != "" && (by[i].Running || rand.IntN(2) == 0)
		}
		_, ended := ends(by, remain)
		for _, s := range ended {
			if !slices.ContainsFunc(may, func(m autoscale.Slot) bool { return m.Number == s.Number }) {
				t.Fatalf("of %+v remain %d: %+v ends, which is none of %+v", slots, remain, s, may)
			}
		}
	}
}
