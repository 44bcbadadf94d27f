package valkey

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func at(slot int, node string) Engine {
	return Engine{Slot: slot, Node: node, Name: node, Addr: netip.MustParseAddrPort("10.0.0." + node[1:] + ":7892")}
}

// pair is a document of two engines, the first of which is the primary.
func pair() Document {
	two := []Engine{at(1, "n1"), at(2, "n2")}
	return Document{Engines: two, Generation: 1, Change: 7, Epoch: 3, Primary: 1, Begun: true}
}

func leads() Observed {
	return Observed{Configured: true, Epoch: 3, Change: 7, Wants: 1, Followed: true}
}

func follows() Observed {
	return Observed{Replica: true, Follows: "10.0.0.1:7892", Linked: true, Epoch: 3, Wants: 1}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	gone, lost, short := lostFor(time.Minute), lostFor(2*time.Second), lostFor(time.Second/2)
	gone.Gone = true
	half := Observed{Replica: true, Follows: "10.0.0.1:7892"}
	others := Observed{Replica: true, Follows: "10.0.0.9:7892", Linked: true}
	untold, open, cleared := leads(), leads(), leads()
	untold.Change, open.Wants, cleared.Epoch, cleared.Change = 6, 0, 0, 0
	alone := leads()
	alone.Followed = false
	for name, test := range map[string]struct {
		fenced, inSync bool
		primary        Observed
		replica        Observed
		want           func(*Document) // nil: it stays
	}{
		"alone, and the replica away": {
			primary: alone, replica: lost,
		},
		"a replica that has begun": {
			primary: leads(), replica: follows(), want: func(d *Document) { d.Fenced = true },
		},
		"a replica that has not all": {
			primary: leads(), replica: half,
		},
		"a replica of another": {
			primary: leads(), replica: others,
		},
		"a primary that has taken its replica": {
			fenced: true, primary: leads(), replica: follows(), want: func(d *Document) { d.InSync = true },
		},
		"a primary that was not told yet": {
			fenced: true, primary: untold, replica: follows(),
		},
		"a primary that takes writes alone yet": {
			fenced: true, primary: open, replica: follows(),
		},
		"all well": {
			fenced: true, inSync: true, primary: leads(), replica: follows(),
		},
		"a replica that is away a moment": {
			fenced: true, inSync: true, primary: leads(), replica: short,
		},
		"a replica that is lost": {
			fenced: true, inSync: true, primary: alone, replica: lost, want: loses,
		},
		"a replica that has begun anew": {
			fenced: true, inSync: true, primary: alone, replica: Observed{}, want: loses,
		},
		"a primary that is away a moment": {
			fenced: true, inSync: true, primary: short, replica: follows(),
		},
		"a primary that is lost": {
			fenced: true, inSync: true, primary: lost, replica: follows(), want: promotes,
		},
		"a primary that is lost alone": {
			primary: lost, replica: follows(),
		},
		"a primary that is lost, fenced": {
			fenced: true, primary: lost, replica: follows(),
		},
		"a primary that is gone for good": {
			primary: gone, replica: follows(), want: promotes,
		},
		"both lost": {
			fenced: true, inSync: true, primary: lost, replica: lost,
		},
		"a replica that was read half way": {
			fenced: true, inSync: true, primary: lost, replica: Observed{Replica: true},
		},
		"a primary that has lost its data": {
			primary: Observed{Wants: 1}, replica: follows(), want: promotes,
		},
		"a primary whose data were cleared": {
			fenced: true, primary: cleared, replica: follows(),
		},
	} {
		d := pair()
		d.Fenced, d.InSync = test.fenced, test.inSync
		want := d
		if test.want != nil {
			test.want(&want)
		}
		got, why := Decide(d, Seen{1: test.primary, 2: test.replica})
		if got.Epoch != want.Epoch || got.Primary != want.Primary || got.Fenced != want.Fenced ||
			got.InSync != want.InSync || (why != "") != (test.want != nil) {
			t.Errorf("%s: %+v, %q; want %+v", name, got, why, want)
		}
	}
}

func lostFor(d time.Duration) Observed { return Observed{Lost: d} }

func loses(d *Document) { d.Fenced, d.InSync = false, false }

func promotes(d *Document) { d.Epoch, d.Primary, d.Fenced, d.InSync = 4, 2, false, false }

func TestPlace(t *testing.T) {
	t.Parallel()
	manager := func(node string) Manager { return Manager{Engine: at(0, node), Usable: true} }
	leader := func(node string) Manager { return Manager{Engine: at(0, node), Usable: true, Leads: true} }
	unusable := func(node string) Manager { return Manager{Engine: at(0, node)} }
	for name, test := range map[string]struct {
		has      []Engine
		primary  int
		managers []Manager
		want     []Engine
	}{
		"the first": {
			nil, 0, []Manager{leader("n1")},
			[]Engine{at(1, "n1")},
		},
		"two": {
			nil, 0, []Manager{leader("n1"), manager("n2")},
			[]Engine{at(1, "n2"), at(2, "n1")},
		},
		"off the leader": {
			nil, 0, []Manager{leader("n1"), manager("n2"), manager("n3")},
			[]Engine{at(1, "n2"), at(2, "n3")},
		},
		"a second": {
			[]Engine{at(1, "n1")}, 1, []Manager{leader("n1"), manager("n2")},
			[]Engine{at(1, "n1"), at(2, "n2")},
		},
		"a third, for the replica": {
			pair().Engines, 1, []Manager{manager("n1"), leader("n2"), manager("n3")},
			[]Engine{at(1, "n1"), at(2, "n3")},
		},
		"the leader has changed": {
			pair().Engines, 1, []Manager{leader("n1"), manager("n2"), manager("n3")},
			pair().Engines,
		},
		"a replica that was demoted": {
			pair().Engines, 1, []Manager{manager("n1"), leader("n3")},
			[]Engine{at(1, "n1"), at(2, "n3")},
		},
		"a primary that was drained": {
			pair().Engines, 1, []Manager{unusable("n1"), manager("n2"), manager("n3")},
			pair().Engines,
		},
		"a primary that was removed": {
			pair().Engines, 1, []Manager{manager("n2"), leader("n3")},
			[]Engine{at(1, "n3"), at(2, "n2")},
		},
		"none": {
			nil, 0, []Manager{unusable("n1")},
			nil,
		},
	} {
		d := Document{Engines: test.has, Primary: test.primary}
		if got := Place(d, test.managers); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// TestPlace_OneAfterTheOther changes all for which an engine is started again: the replica has it first, then the
// primary hands over, and never are both started again at once.
func TestPlace_OneAfterTheOther(t *testing.T) {
	t.Parallel()
	store := newMemory()
	was := pair()
	was.Wanted, was.Image = Wanted{"valkey", 7892, 1 << 30}, "old"
	for i := range was.Engines {
		was.Engines[i].Image = "old" // a version before wrote no memory
	}
	if _, err := save(store, Document{}, was, ""); err != nil {
		t.Fatal(err)
	}
	managers := func(port uint16) []Manager {
		list := []Manager{{at(0, "n1"), false, true}, {at(0, "n2"), false, true}}
		for i, m := range list {
			list[i].Addr = netip.AddrPortFrom(m.Addr.Addr(), port)
		}
		return list
	}
	d, err := Load(store)
	if err != nil || !slices.Equal(Place(d, managers(7892)), d.Engines) || d.Engines[0].Memory != 1<<30 {
		t.Fatalf("nothing has changed, and the engines become %+v, %v", Place(d, managers(7892)), err)
	}
	if err := Want(store, Wanted{"valkey", 7893, 2 << 30}); err != nil {
		t.Fatal(err)
	}
	if d, err = Load(store); err != nil {
		t.Fatal(err)
	}
	d.Image = "new"
	old := d.Engines[0]
	now := managers(7893)
	d.Engines = Place(d, now)
	if p := d.Engines[0]; p != old {
		t.Errorf("the primary is started again as %+v", p)
	}
	want := Engine{2, "n2", "n2", netip.MustParseAddrPort("10.0.0.2:7893"), "new", 2 << 30}
	if r := d.Engines[1]; r != want {
		t.Errorf("the replica is %+v", r)
	}
	if d.InSync = true; !handsOver(d, now, true) {
		t.Error("the primary does not hand over")
	}
	d = d.promote(d.Engines[1])
	d.Engines = Place(d, now)
	want = Engine{1, "n1", "n1", netip.MustParseAddrPort("10.0.0.1:7893"), "new", 2 << 30}
	if r := d.Engines[0]; r != want {
		t.Errorf("the other is %+v", r)
	}
	if d.InSync = true; handsOver(d, now, false) {
		t.Error("it hands over again")
	}
	alone := Document{Engines: []Engine{old}, Primary: 1, Image: "new", Wanted: Wanted{Memory: 2 << 30}}
	if got := Place(alone, now[:1])[0]; got != want {
		t.Errorf("one that is alone becomes %+v", got)
	}
}

func TestHandsOver(t *testing.T) {
	t.Parallel()
	manager := func(node string, leads, usable bool) Manager {
		return Manager{at(0, node), leads, usable}
	}
	for name, test := range map[string]struct {
		inSync   bool
		managers []Manager
		want     bool
		lately   bool // what it is a moment after another
	}{
		"off the leader": {true, []Manager{manager("n1", true, true), manager("n2", false, true)}, true, false},
		"not in sync":    {false, []Manager{manager("n1", true, true), manager("n2", false, true)}, false, false},
		"to the leader":  {true, []Manager{manager("n1", false, true), manager("n2", true, true)}, false, false},
		"off a drained node to the leader": {
			true, []Manager{manager("n1", false, false), manager("n2", true, true)}, true, true,
		},
		"off a drained node": {true, []Manager{manager("n1", false, false), manager("n2", false, true)}, true, true},
		"to a drained node":  {true, []Manager{manager("n1", true, true), manager("n2", false, false)}, false, false},
		"nowhere":            {true, nil, false, false},
	} {
		d := pair()
		d.InSync = test.inSync
		if got := handsOver(d, test.managers, false); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
		if got := handsOver(d, test.managers, true); got != test.lately {
			t.Errorf("%s, a moment after another: %t", name, got)
		}
	}
}

// TestFollower reads what a primary says of its replica.
func TestInfo(t *testing.T) {
	t.Parallel()
	var o Observed
	readInfo("# Replication\r\nrole:master\r\nslave0:ip=10.0.0.2,port=7892,state=online,offset=98,lag=1\r\n"+
		"master_repl_offset:100\r\nredis_version:7.2.4\r\n", &o)
	if !o.Followed || o.Acked != 98 || o.Offset != 100 || o.Replica || o.Version != "7.2.4" {
		t.Errorf("a primary: %+v", o)
	}
	for _, not := range []string{"state=online,offset=98,lag=9", "state=wait_bgsave,offset=0,lag=0", "x"} {
		o = Observed{}
		if readInfo("slave0:"+not+"\r\n", &o); o.Followed {
			t.Errorf("%s follows", not)
		}
	}
	o = Observed{}
	readInfo("role:slave\nmaster_host:10.0.0.1\nmaster_port:7892\nmaster_link_status:up\nmaster_sync_in_progress:0\n"+
		"slave_repl_offset:99\nmaster_repl_offset:12\n", &o)
	if !o.Replica || !o.Linked || o.Follows != "10.0.0.1:7892" || o.Offset != 99 {
		t.Errorf("a replica: %+v", o)
	}
}
