package valkey

import (
	"strings"
	"testing"
	"time"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	away := Observed{Lost: time.Second, Problem: "connection refused"}
	for name, test := range map[string]struct {
		change    func(*Document)
		seen      Seen
		problem   string
		bad, warn string // empty: nothing is
	}{
		"not wanted": {change: func(d *Document) { *d = Document{} }, problem: "no image"},
		"not begun": {
			change:  func(d *Document) { d.Engines, d.Primary = nil, 0 },
			problem: "no image", bad: "no Valkey yet: no image",
		},
		"all well": {
			seen: Seen{1: leads(), 2: follows()},
		},
		"another image": {
			problem: "no image", warn: "goes on as it is: no image",
		},
		"one manager": {
			change: func(d *Document) { d.Engines = d.Engines[:1] }, warn: "`crawlbox node promote NODE`",
		},
		"a replica away": {
			change: loses, seen: Seen{2: away}, warn: "replica on n2 is away (connection refused)",
		},
		"a replica to come": {
			change: loses, seen: Seen{2: follows()}, warn: "until its replica on n2 has all",
		},
		"a primary away": {
			seen: Seen{1: away, 2: follows()}, bad: "the one on n2 takes its place",
		},
		"a primary lost": {
			change: loses, seen: Seen{1: away, 2: follows()}, bad: "start that server", warn: "until",
		},
		"a follower's point": {
			change: loses, warn: "until its replica on n2 has all",
		},
	} {
		d := pair()
		d.Wanted, d.Fenced, d.InSync = Wanted{"valkey", 7892, 1}, true, true
		if test.change != nil {
			test.change(&d)
		}
		store := newMemory()
		if _, err := save(store, Document{}, d, name); err != nil {
			t.Fatal(err)
		}
		s := Status{Store: store}
		if test.seen != nil || test.problem != "" {
			s.Lead(&Controller{seen: test.seen, problem: test.problem})
		}
		for what, say := range map[string][2]string{"bad": {s.Bad(), test.bad}, "warn": {s.Warn(), test.warn}} {
			if got, want := say[0], say[1]; (got == "") != (want == "") || !strings.Contains(got, want) {
				t.Errorf("%s: %s: %q, want %q in it", name, what, got, want)
			}
		}
	}
}

// TestStatus_Where names the nodes of the primary and of the replica, as far as there are some.
func TestStatus_Where(t *testing.T) {
	t.Parallel()
	for want, change := range map[[2]string]func(*Document){
		{"n1", "n2"}: func(*Document) {},
		{"n2", "n1"}: func(d *Document) { d.Primary = 2 },
		{"n1", ""}:   func(d *Document) { d.Engines = d.Engines[:1] },
		{"", ""}:     func(d *Document) { d.Engines, d.Primary = nil, 0 },
	} {
		d, store := pair(), newMemory()
		change(&d)
		if _, err := save(store, Document{}, d, "x"); err != nil {
			t.Fatal(err)
		}
		primary, replica := (&Status{Store: store}).Where()
		if got := [2]string{primary, replica}; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestWant begins anew where Valkey was taken out of the config.
func TestWant(t *testing.T) {
	t.Parallel()
	store := newMemory()
	if err := Want(store, Wanted{}); err != nil || store.data != nil {
		t.Errorf("without Valkey: %v, %s", err, store.data)
	}
	first := Wanted{"valkey", 7892, 1}
	if err := Want(store, first); err != nil {
		t.Fatal(err)
	}
	d, err := Load(store)
	if err != nil || d.Wanted != first || d.Password == "" {
		t.Fatalf("%+v, %v", d, err)
	}
	next := pair()
	next.Wanted, next.Password = first, d.Password
	if _, err := save(store, d, next, "run"); err != nil {
		t.Fatal(err)
	}
	if _, err := save(store, d, next, "run"); err == nil {
		t.Error("what another manager has changed is changed")
	}
	if err := Want(store, Wanted{}); err != nil {
		t.Fatal(err)
	}
	if d, err = Load(store); err != nil || d.Primary != 0 || len(d.Engines) != 0 || d.Epoch != 3 {
		t.Errorf("%+v, %v", d, err)
	}
}
