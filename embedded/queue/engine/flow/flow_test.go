package flow

import "testing"

func TestTable(t *testing.T) {
	t.Parallel()
	var table Table[string]
	if table.Active(0) {
		t.Error("it counts though nobody has asked")
	}
	if got := table.Ask("a", 7, 1000); got != (Counts{}) {
		t.Errorf("at first %+v", got)
	}
	for _, items := range []int{9, 8, 0, 5} {
		table.See("a", items)
	}
	table.See("b", 5) // nobody has asked for it
	if got := table.Ask("a", 5, 2000); got != (Counts{In: 7, Out: 9}) {
		t.Errorf("got %+v", got)
	}
	if got := table.Ask("a", 0, 3000); got != (Counts{In: 7, Out: 14}) { // gone unseen
		t.Errorf("got %+v", got)
	}
	if got := table.Ask("b", 6, 3000); got != (Counts{}) {
		t.Errorf("got %+v", got)
	}
	if !table.Active(3000+keep) || table.Active(3001+keep) {
		t.Error("it does not end as nobody asks")
	}
	if got := table.Ask("a", 3, 200_000); got != (Counts{}) {
		t.Errorf("begun again it has %+v", got)
	}
}

// TestTable_Full forgets the key that was asked for longest ago, whatever changes.
func TestTable_Full(t *testing.T) {
	t.Parallel()
	var table Table[int]
	for key := range MaxKeys {
		table.Ask(key, 0, 0)
	}
	table.See(1, 1)
	table.Ask(0, 0, 0)
	table.Ask(MaxKeys, 0, 0)
	table.See(0, 2)
	if n := table.keys.Len(); n != MaxKeys {
		t.Errorf("it has %d keys", n)
	}
	if got := table.Ask(0, 2, 0); got.In != 2 {
		t.Errorf("the key asked for again has %+v", got)
	}
	if got := table.Ask(1, 1, 0); got.In != 0 {
		t.Errorf("the key asked for longest ago has %+v", got)
	}
}
