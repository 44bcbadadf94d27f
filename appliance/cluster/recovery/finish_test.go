package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/cluster/restore"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
)

// lost is a swarm of three managers, s2 and s3 of which are gone, and a worker.
type lost struct {
	alone  bool // s1 is the only manager
	back   bool // the others are
	in     bool // a swarm
	nodes  []fleet.Node
	newest state.Version
	fails  error
}

func newLost() *lost {
	return &lost{in: true, nodes: []fleet.Node{
		{ID: "s1", Role: fleet.RoleManager, Raft: true}, {ID: "s2", Role: fleet.RoleManager},
		{ID: "s3", Role: fleet.RoleManager}, {ID: "s4", Role: fleet.RoleWorker},
	}}
}

func (l *lost) Leave(context.Context, bool) error { l.in = false; return l.fails }

func (l *lost) RemoveTasks(context.Context) error { return nil }

func (l *lost) Nodes(context.Context) ([]fleet.Node, error) {
	if !l.alone && !l.back {
		return nil, errors.New("the swarm does not have a leader")
	}
	return slices.Clone(l.nodes), nil
}

func (l *lost) KillAllTasks(context.Context) error          { return nil }
func (l *lost) InitAlone(context.Context, netip.Addr) error { l.alone = true; return l.fails }

func (l *lost) RemoveNode(_ context.Context, id string, _ bool) error {
	l.nodes = slices.DeleteFunc(l.nodes, func(n fleet.Node) bool { return n.ID == id })
	return nil
}

func (l *lost) SetRole(_ context.Context, id, role string) error {
	for i := range l.nodes {
		if l.nodes[i].ID == id {
			l.nodes[i].Role = role
		}
	}
	return nil
}

func (l *lost) ClusterID(context.Context) (string, error) { return "c1", nil }

func (l *lost) SetNewest(_ context.Context, v state.Version) error { l.newest = v; return nil }

// machine returns one that has the state of a cluster of three managers and a worker.
func machine(t *testing.T) *setup.Machine {
	t.Helper()
	cfg := configs.Default()
	cfg.DataDir = t.TempDir()
	log := slog.New(slog.DiscardHandler)
	m := &setup.Machine{Config: cfg, Name: "h1", Log: log, Phase: func(string) {}}
	a, err := authority.Open(t.Context(), authority.Options{
		DataDir: cfg.DataDir,
		NodeDir: setup.NodeDir(cfg),
		Self:    pki.Self{Name: "h1", Addr: ip1},
		Log:     log,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var nodes []member.Node
	for id, addr := range map[string]string{"s2": "10.0.0.2", "s3": "10.0.0.3", "s4": "10.0.0.4"} {
		remote := netip.MustParseAddr(addr)
		m := member.Member{ID: "of-" + id, Role: fleet.RoleWorker, Remote: remote, Until: time.Now().Add(time.Hour)}
		nodes = append(nodes, member.Node{ID: id, Addr: remote, Role: fleet.RoleWorker, Ready: true})
		if err := a.Members.Put(m); err != nil {
			t.Fatal(err)
		}
		if err := a.Members.Bind(m.ID, id, remote, nodes); err != nil {
			t.Fatal(err)
		}
	}
	if err := setup.Keep(cfg, "c1", ip1); err != nil {
		t.Fatal(err)
	}
	return m
}

var errKilled = errors.New("killed")

// TestFinish_Killed kills crawlbox after each step of a recovery: it goes on at the next start, and the end is
// the same.
func TestFinish_Killed(t *testing.T) {
	t.Parallel()
	for name, inPlace := range map[string]bool{"in place": true, "a new swarm": false} {
		for at := range 8 {
			m, l := machine(t), newLost()
			j := Journal{
				Begun:   time.Now(),
				Epoch:   1,
				Addr:    ip1,
				InPlace: inPlace,
				Own:     replica.Replica{Node: "s1", Name: "h1", Addr: ip1},
				Gone:    []string{"s2", "s3"},
				Pending: restore.Pending{Made: inPlace, Images: true, Before: []netip.Addr{ip2, ip3}},
			}
			if !inPlace {
				j.Addr = netip.MustParseAddr("10.0.0.9")
			}
			if err := j.Save(m.Config.DataDir); err != nil {
				t.Fatal(err)
			}
			steps := 0
			func() {
				defer func() {
					r := recover()
					if err, _ := r.(error); r != nil && !errors.Is(err, errKilled) {
						panic(r)
					}
				}()
				_ = finish(t.Context(), m, l, func() {
					if steps++; steps == at {
						panic(errKilled)
					}
				})
			}()
			if err := finish(t.Context(), m, l, func() {}); err != nil {
				t.Errorf("%s, killed after step %d: %v", name, at, err)
			}
			if left, err := Load(m.Config.DataDir); left != nil || err != nil {
				t.Errorf("%s, killed after step %d: left is %+v, %v", name, at, left, err)
			}
			wantRecovered(t, m, l, j)
		}
	}
}

func wantRecovered(t *testing.T, m *setup.Machine, l *lost, j Journal) {
	t.Helper()
	dir := m.Config.DataDir
	view, err := state.Look(state.Dir(dir))
	if err != nil || view.Commit.Epoch != 1 {
		t.Fatalf("the state is %+v, %v", view, err)
	}
	record, err := setup.LoadRecord(setup.RecordPath(m.Config))
	if err != nil || record.Addr != j.Addr || record.Cluster != map[bool]string{true: "c1"}[j.InPlace] {
		t.Errorf("the record is %+v, %v", record, err)
	}
	pending, err := restore.Load(dir)
	if err != nil || pending == nil || len(pending.Before) != 2 || pending.Made != j.InPlace {
		t.Errorf("pending is %+v, %v", pending, err)
	}
	data, err := view.Document(state.Members)
	if err != nil {
		t.Fatal(err)
	}
	members, err := member.Parse(data)
	if err != nil || len(members) != 3 {
		t.Fatalf("members are %+v, %v", members, err)
	}
	for _, n := range members {
		if free := !j.InPlace || n.ID != "of-s4"; free != (len(n.Bound) == 0) {
			t.Errorf("%s is bound to %v", n.ID, n.Bound)
		}
	}
	if !j.InPlace {
		if _, err := view.Document(state.Replicas); err == nil || l.in {
			t.Errorf("managers of the swarm before are there; it is in that: %v", l.in)
		}
		return
	}
	list, err := replicas(view)
	if err != nil || len(list) != 1 || list[0].Node != "s1" || !l.alone || l.newest != view.Head || !l.in {
		t.Errorf("the managers are %+v, %v; Swarm has %+v, the newest is %s", list, err, l, view.Head)
	}
	for _, n := range l.nodes {
		if n.ID == "s2" || n.ID == "s3" {
			t.Errorf("Swarm has %+v", n)
		}
	}
}

// TestFinish_Back changes nothing where the others are back before it has begun, and takes one that comes back
// in between for a worker.
func TestFinish_Back(t *testing.T) {
	t.Parallel()
	m, l := machine(t), newLost()
	j := Journal{Epoch: 1, Addr: ip1, InPlace: true, Own: replica.Replica{Node: "s1"}, Gone: []string{"s2", "s3"}}
	if err := j.Save(m.Config.DataDir); err != nil {
		t.Fatal(err)
	}
	l.back = true
	if err := finish(t.Context(), m, l, func() {}); err != nil {
		t.Fatal(err)
	}
	view, err := state.Look(state.Dir(m.Config.DataDir))
	if left, _ := Load(m.Config.DataDir); err != nil || left != nil || view.Commit.Epoch != 0 || len(l.nodes) != 4 {
		t.Errorf("%v; left is %+v, the state %+v", err, left, view)
	}

	l = newLost()
	if err := j.Save(m.Config.DataDir); err != nil {
		t.Fatal(err)
	}
	l.fails = errors.New("Docker is away")
	if err := finish(t.Context(), m, l, func() {}); err == nil || !strings.Contains(err.Error(), "started again") {
		t.Errorf("it failed: %v", err)
	}
	l.fails, l.nodes[1].Raft = nil, true
	if err := finish(t.Context(), m, l, func() {}); err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(l.nodes, func(n fleet.Node) bool { return n.ID == "s2" }); i < 0 ||
		l.nodes[i].Role != fleet.RoleWorker || len(l.nodes) != 3 {
		t.Errorf("Swarm has %+v", l.nodes)
	}
}

// TestFinish_Queue makes a manager that joined the home of an empty queue, also where it is done twice, and leaves the
// swarm and the state as they are.
func TestFinish_Queue(t *testing.T) {
	t.Parallel()
	m, l := machine(t), newLost()
	l.back = true
	if err := os.Remove(setup.RecordPath(m.Config)); err != nil {
		t.Fatal(err)
	}
	m.Config.Queue = &configs.Queue{}
	old := filepath.Join(m.Config.QueueDir(), "segment-1")
	if err := errors.Join(os.MkdirAll(filepath.Dir(old), 0o700), os.WriteFile(old, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	j := Journal{Addr: ip2, InPlace: true, Queue: true}
	for range 2 {
		if err := j.Save(m.Config.DataDir); err != nil {
			t.Fatal(err)
		}
		if err := finish(t.Context(), m, l, func() {}); err != nil {
			t.Fatal(err)
		}
		record, err := setup.LoadRecord(setup.RecordPath(m.Config))
		if err != nil || record.Cluster != "c1" || record.Addr != ip2 || setup.StateOf(m.Config) != setup.Created {
			t.Errorf("the record is %+v, %v", record, err)
		}
		view, err := state.Look(state.Dir(m.Config.DataDir))
		if err != nil || view.Commit.Epoch != 0 || len(l.nodes) != 4 || l.newest != "" {
			t.Errorf("%v, the state is %+v, Swarm has %+v", err, view, l)
		}
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the queue is an old one")
	}
}

// TestLoad_Damaged says what to do.
func TestLoad_Damaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if j, err := Load(dir); j != nil || err != nil {
		t.Errorf("of none: %+v, %v", j, err)
	}
	data, _ := json.Marshal("x")
	if err := os.WriteFile(filepath.Join(dir, journalFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "run `crawlbox recover` again") {
		t.Errorf("damaged: %v", err)
	}
}
