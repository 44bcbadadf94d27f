package setup

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/swarm"
)

var (
	noon   = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ownIP  = netip.MustParseAddr("10.0.0.1")
	nextIP = netip.MustParseAddr("10.0.0.2")
)

func TestClassifySwarm(t *testing.T) {
	t.Parallel()
	manager := swarm.Info{State: swarm.StateActive, Manager: true, ClusterID: "c1", ClusterMade: noon}
	inactive := swarm.Info{State: swarm.StateInactive}
	worker := swarm.Info{State: swarm.StateActive, Managers: []netip.AddrPort{netip.AddrPortFrom(nextIP, swarm.Port)}}
	for name, tc := range map[string]struct {
		info  swarm.Info
		rec   Record
		adopt bool
		want  swarmAction
		err   string // part of it; empty: none
	}{
		"fresh machine":                    {inactive, Record{}, false, swarmMissing, ""},
		"killed before the swarm was made": {inactive, Record{Begun: noon}, false, swarmMissing, ""},
		"killed after it was made":         {manager, Record{Begun: noon.Add(-time.Second)}, false, swarmOurs, ""},
		"made before crawlbox began":       {manager, Record{Begun: noon.Add(time.Second)}, false, 0, "did not make"},
		"ours":                             {manager, Record{Cluster: "c1", Begun: noon}, false, swarmOurs, ""},
		"ours, and told to adopt":          {manager, Record{Cluster: "c1", Begun: noon}, true, swarmOurs, ""},
		"somebody else's":                  {manager, Record{}, false, 0, "--adopt-swarm"},
		"another than ours": {manager, Record{
			Cluster: "c0",
			Begun:   noon.Add(-time.Hour),
		}, false, 0, "--adopt-swarm"},
		"adopted":          {manager, Record{}, true, swarmAdopt, ""},
		"Docker left it":   {inactive, Record{Cluster: "c1"}, false, 0, "Docker has left"},
		"worker elsewhere": {worker, Record{}, true, 0, "docker swarm leave"},
		"demoted":          {worker, Record{Cluster: "c1"}, false, 0, "demoted"},
		"locked":           {swarm.Info{State: swarm.StateLocked}, Record{}, false, 0, "docker swarm unlock"},
		"failed": {
			swarm.Info{State: swarm.StateError, Error: "certificate expired"},
			Record{},
			false,
			0,
			"certificate expired",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ClassifySwarm(tc.info, tc.rec, tc.adopt)
			if tc.err == "" && (err != nil || got != tc.want) {
				t.Fatalf("got %v, %v; want %v", got, err, tc.want)
			}
			if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Fatalf("got %v, want an error with %q", err, tc.err)
			}
		})
	}
}

func TestAdvertiseAddr(t *testing.T) {
	t.Parallel()
	active := swarm.Info{State: swarm.StateActive, NodeAddr: ownIP}
	var none netip.Addr
	for name, tc := range map[string]struct {
		configured netip.Addr
		info       swarm.Info
		rec        Record
		want       netip.Addr
		fails      bool
	}{
		"configured":                       {ownIP, swarm.Info{State: swarm.StateInactive}, Record{}, ownIP, false},
		"as the swarm was made":            {none, active, Record{}, ownIP, false},
		"as written down":                  {none, swarm.Info{}, Record{Addr: ownIP}, ownIP, false},
		"configured as made":               {ownIP, active, Record{}, ownIP, false},
		"configured otherwise than made":   {nextIP, active, Record{}, none, true},
		"written down and the swarm's own": {none, active, Record{Addr: nextIP}, ownIP, false},
	} {
		got, err := advertiseAddr(tc.configured, tc.info, tc.rec)
		if (err != nil) != tc.fails || !tc.fails && got != tc.want {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, tc.want)
		}
	}
}

func TestCheckOtherSwarm(t *testing.T) {
	t.Parallel()
	cluster := []netip.AddrPort{netip.AddrPortFrom(ownIP, 7980)}
	in := func(a netip.Addr) swarm.Info {
		return swarm.Info{State: swarm.StateActive, Managers: []netip.AddrPort{netip.AddrPortFrom(a, swarm.Port)}}
	}
	if err := CheckOtherSwarm(swarm.Info{State: swarm.StateInactive}, cluster); err != nil {
		t.Errorf("in no swarm: %v", err)
	}
	if err := CheckOtherSwarm(in(ownIP), cluster); err != nil {
		t.Errorf("in this cluster's swarm: %v", err)
	}
	if err := CheckOtherSwarm(in(nextIP), cluster); err == nil || !strings.Contains(err.Error(), "10.0.0.2") {
		t.Errorf("in another swarm: %v", err)
	}
}

func TestRecord_IsFoundAgain(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/cluster.json"
	r, err := LoadRecord(path)
	if err != nil || !r.Begun.IsZero() {
		t.Fatalf("of a fresh machine: %+v, %v", r, err)
	}
	r.Begun, r.Cluster, r.Addr = noon, "c1", ownIP
	if err := r.save(); err != nil {
		t.Fatal(err)
	}
	got, err := LoadRecord(path)
	if err != nil || !got.Begun.Equal(noon) || got.Cluster != "c1" || got.Addr != ownIP {
		t.Fatalf("got %+v, %v", got, err)
	}
}
