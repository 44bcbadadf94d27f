package problems

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/queueproc/leases"
	"github.com/crawlbox/crawlbox/appliance/sandbox"
	"github.com/crawlbox/crawlbox/embedded/gossip"
	"github.com/crawlbox/crawlbox/embedded/queue"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// plot is a cluster of three nodes and one service of six replicas, in which all is well.
type plot struct {
	Seen
	nodes   []fleet.Node
	service *fleet.Service
	tasks   []fleet.Task
	last    *history.Entry
}

func note(service string, kind services.NoteKind, text string) services.Note {
	return services.Note{Service: service, Kind: kind, Text: text}
}

func healthy() *plot {
	p := &plot{Seen: Seen{Now: noon, Started: noon.Add(-time.Hour)}}
	for i, role := range []string{fleet.RoleManager, fleet.RoleWorker, fleet.RoleWorker} {
		name := fmt.Sprintf("h%d", i+1)
		p.nodes = append(p.nodes, fleet.Node{
			ID:           "id-" + name,
			Name:         name,
			Display:      name,
			Role:         role,
			Availability: fleet.AvailabilityActive,
			State:        fleet.StateReady,
			Addr:         "10.0.0." + name[1:],
			Updated:      noon.Add(-time.Hour),
			Agent: &fleet.Agent{
				State:    fleet.AgentAlive,
				Version:  "1.0",
				FreeDisk: 40e9,
				Docker:   "running",
				Seen:     noon,
			},
		})
		p.Members = append(p.Members, gossip.Member{
			Node:  gossip.Node{Name: name, Version: "1.0"},
			State: gossip.Alive,
		})
	}
	p.service = &fleet.Service{
		ID:           "s",
		Name:         "spider",
		Mode:         fleet.ModeReplicated,
		Desired:      6,
		RestartDelay: 5 * time.Second,
		Deploy:       "2026-11-29T11:00:00Z",
		Updated:      noon.Add(-time.Hour),
	}
	for i := range 6 {
		p.task(i+1, p.nodes[i%3].ID, fleet.TaskRunning, time.Hour, "")
	}
	return p
}

func (p *plot) task(slot int, node, state string, ago time.Duration, failure string) *fleet.Task {
	p.tasks = append(p.tasks, fleet.Task{
		ID:        fmt.Sprintf("t%d", len(p.tasks)),
		ServiceID: "s",
		Service:   "spider",
		Slot:      slot,
		NodeID:    node,
		State:     state,
		Desired:   fleet.TaskRunning,
		Error:     failure,
		Created:   noon.Add(-ago),
		Since:     noon.Add(-ago),
	})
	return &p.tasks[len(p.tasks)-1]
}

func (p *plot) find() []api.Problem {
	if p.nodes != nil {
		p.Cluster = &fleet.Snapshot{Taken: noon, Nodes: p.nodes, Services: []fleet.Service{*p.service}, Tasks: p.tasks}
		p.Cluster.Tally()
	}
	if p.last != nil {
		p.Last = func(string) (history.Entry, bool) { return *p.last, true }
	}
	return Find(p.Seen)
}

// deployed makes the last change of the service one that ended so.
func (p *plot) deployed(r history.Result, why string) {
	at := noon.Add(-time.Hour)
	p.last = &history.Entry{Version: 7, At: at, Took: time.Minute, Result: r, Stage: history.StageWatch, Why: why}
}

// planted has a problem of every kind, and what is to be said of it.
var planted = map[string]struct {
	plant func(*plot)
	level api.Level
	kind  string
	says  []string // in this order
}{
	// What `crawlbox nodes` shows.
	"a machine is down": {
		func(p *plot) { p.nodes[1].State, p.nodes[1].Agent.State = fleet.StateDown, fleet.AgentFailed },
		api.Bad, api.NodeDown, []string{"h2 (10.0.0.2) is down", "start the machine", "`crawlbox node rm h2`"},
	},
	"a manager is down": {
		func(p *plot) {
			p.nodes[1].Role, p.nodes[1].State, p.nodes[1].Agent = fleet.RoleManager, "unreachable", nil
		},
		api.Bad, api.NodeDown, []string{
			"h2 (10.0.0.2) is unreachable", "start", "node demote h2` and `crawlbox node rm h2`",
		},
	},
	"Swarm does not hear from a node that answers": {
		func(p *plot) { p.nodes[1].State = fleet.StateDown },
		api.Bad, api.NodeDown, []string{"h2 (10.0.0.2) is down for Swarm, though crawlbox there answers", "port 2377"},
	},
	"Swarm was started again": {
		func(p *plot) { p.nodes[1].State = fleet.StateUnknown },
		api.Warning, api.NodeUnknown, []string{"does not know yet", "h2 (10.0.0.2)", "wait"},
	},
	"Docker is stopped on a node, just now": {
		func(p *plot) { p.nodes[1].Agent.Docker = fleet.EngineStopped },
		api.Bad, api.DockerStopped, []string{"Docker does not answer on node h2", "systemctl start docker"},
	},
	"Docker is stopped on a node, and Swarm knows": {
		func(p *plot) { p.nodes[1].State, p.nodes[1].Agent.Docker = fleet.StateDown, fleet.EngineStopped },
		api.Bad, api.DockerStopped, []string{
			"Docker does not answer on node h2", "which is down", "systemctl start docker",
		},
	},
	"crawlbox is stopped on a node": {
		func(p *plot) {
			p.nodes[2].Agent.State, p.nodes[2].Agent.Seen = fleet.AgentStopped, noon.Add(-time.Minute)
			p.service.Avoids = []string{"id-h3"}
		},
		api.Bad, api.CrawlboxStopped, []string{
			"crawlbox is stopped on node h3 (10.0.0.3) since", "nothing new of spider starts",
			"systemctl start crawlbox",
		},
	},
	"crawlbox has died on a node": {
		func(p *plot) { p.nodes[2].Agent.State = fleet.AgentFailed },
		api.Bad, api.CrawlboxStopped, []string{"crawlbox does not answer on node h3", "systemctl status crawlbox"},
	},
	"crawlbox was never on a node": {
		func(p *plot) { p.nodes[2].Agent = nil },
		api.Bad, api.CrawlboxStopped, []string{"nothing is heard of crawlbox on node h3", "`crawlbox token`"},
	},
	"a node is drained": {
		func(p *plot) { p.nodes[0].Availability = fleet.AvailabilityDrain },
		api.Note, api.NodeIdle, []string{"1 of 3 nodes gets no tasks: h1 (drained)", "crawlbox node activate h1"},
	},
	"all nodes are drained or paused": {
		func(p *plot) {
			for i := range p.nodes {
				p.nodes[i].Availability = fleet.AvailabilityDrain
			}
			p.nodes[1].Availability = fleet.AvailabilityPause
		},
		api.Bad, api.NoNode, []string{"no node takes tasks: h1 (drained), h2 (paused)", "node activate h1 h2 h3"},
	},
	"a disk fills": {
		func(p *plot) { p.nodes[1].Agent.FreeDisk = 2e9 },
		api.Warning, api.DiskLow, []string{"only 2GB are free on the disk of node h2", "docker system prune"},
	},
	"a disk is full": {
		func(p *plot) { p.nodes[1].Agent.FreeDisk = 10e6 },
		api.Bad, api.DiskFull, []string{"the disk of node h2 (10.0.0.2) is full, 10MB", "docker system prune"},
	},
	"versions are apart": {
		func(p *plot) { p.Members[2].Version = "1.1" },
		api.Warning, api.VersionsApart, []string{"1.0 on h1, h2, 1.1 on h3", "crawlbox upgrade"},
	},
	"two nodes have one name": {
		func(p *plot) { p.nodes[2].Name = "h2" },
		api.Warning, api.SameNames, []string{"2 nodes have the host name h2 (10.0.0.2, 10.0.0.3)", "hostnamectl"},
	},
	"two managers": {
		func(p *plot) { p.nodes[1].Role = fleet.RoleManager },
		api.Warning, api.FewManagers, []string{"if either fails, no change is possible", "promote a third"},
	},
	"two of three managers": {
		func(p *plot) {
			p.nodes[1].Role, p.nodes[2].Role, p.nodes[2].State = fleet.RoleManager, fleet.RoleManager, "unreachable"
		},
		api.Warning, api.FewManagers, []string{"2 of 3 managers answer", "bring the others back"},
	},

	// What `crawlbox ls` and `ps` show.
	"too few replicas": {
		func(p *plot) { p.tasks[0].State, p.tasks[0].Error = "preparing", "no such thing" },
		api.Bad, api.ServiceShort, []string{"5 of 6 running (last error: no such thing)", "crawlbox ps spider"},
	},
	"too few replicas, of a service that starts": {
		func(p *plot) { p.tasks[0].State, p.service.Updated = "preparing", noon.Add(-time.Second) },
		api.Warning, api.ServiceShort, []string{"5 of 6 running"},
	},
	"too few replicas, since a node is lost": {
		func(p *plot) { p.nodes[1].Agent.Docker = fleet.EngineStopped },
		api.Bad, api.ServiceShort, []string{"4 of 6 running, and nothing is known of 2: Docker does not answer on h2"},
	},
	"replicas fail again and again": {
		func(p *plot) {
			p.tasks[0].State = "ready"
			for i := range 3 {
				p.task(1, "id-h1", fleet.TaskFailed, time.Duration(i+1)*time.Minute, "exit code 3").Desired =
					fleet.TaskShutdown
			}
			p.Why = map[string]string{"t6": `exit code 3 (it wrote "no module named x")`}
		},
		api.Bad, api.ServiceFailing, []string{
			"spider.1 fails again and again, 3 times in 3m0s, on h1 last", "no module named x", "crawlbox logs spider",
		},
	},
	"an update stopped halfway": {
		func(p *plot) { p.service.Update = fleet.UpdatePaused },
		api.Bad, api.UpdatePaused, []string{"its update stopped halfway", "crawlbox ps spider"},
	},
	"the way back stopped halfway": {
		func(p *plot) { p.service.Update = fleet.RollbackPaused },
		api.Bad, api.UpdatePaused, []string{"its update stopped halfway"},
	},
	"Swarm has forgotten replicas": {
		func(p *plot) {
			for i := range 2 {
				p.tasks[i].State, p.tasks[i].NodeID = fleet.TaskPending, ""
				p.tasks[i].Error = "no suitable node (3 nodes not available for new tasks)"
			}
		},
		api.Bad, api.ServiceForgotten, []string{"2 replicas wait for a node, though", "`crawlbox restart spider`"},
	},
	"a node has no front of the queue": {
		func(p *plot) {
			p.QueueMarks = []string{"now", "by name"}
			p.Members = append(p.Members, gossip.Member{
				Node:  gossip.Node{Name: "h7", Queue: gossip.QueueAway},
				State: gossip.Alive,
			})
		},
		api.Warning, api.QueueFront, []string{"services on h7 do not get to the queue", "`crawlbox status` on it"},
	},
	"the queue changed after it was deployed": {
		func(p *plot) { p.service.Queue, p.QueueMarks = "before", []string{"now", "by name"} },
		api.Bad, api.QueueChanged, []string{"the address or password of the queue", "`crawlbox restart spider`"},
	},
	"an update was taken back, and there is no history": {
		func(p *plot) {
			p.service.Update, p.service.UpdateStarted = fleet.UpdateRolledBack, noon.Add(-time.Hour)
			p.service.Message = "task failed"
		},
		api.Note, api.RolledBack, []string{"the version before it is back (task failed)"},
	},
	"all replicas are on one node": {
		func(p *plot) {
			for i := range p.tasks {
				p.tasks[i].NodeID = "id-h1"
			}
		},
		api.Warning, api.Uneven, []string{"all 6 replicas run on h1, and none on h2, h3", "`crawlbox restart spider`"},
	},
	"a node came back and has none": {
		func(p *plot) { p.tasks[2].NodeID, p.tasks[5].NodeID = "id-h1", "id-h2" },
		api.Note, api.NodeIdle, []string{"3 of 6 replicas run on h", "and none on h3", "`crawlbox restart spider`"},
	},

	// What `crawlbox doctor` shows.
	"doctor has found something": {
		func(p *plot) {
			p.Findings = []doctor.Finding{
				{
					Check:    "firewall",
					Level:    doctor.Bad,
					Text:     "kept out",
					Remedy:   "open them",
					Commands: []string{"ufw allow x"},
				},
				{Check: "kernel", Level: doctor.Note, Text: "no ip_vs"},
			}
		},
		api.Bad, api.MachineUnfit, []string{"this machine: kept out; open them: `ufw allow x`"},
	},
	"Docker does not answer here": {
		func(p *plot) { p.Docker, p.nodes = errors.New("docker is stopped; start it with x"), nil },
		api.Bad, api.DockerHere, []string{"docker is stopped", "start it"},
	},
	"the manager does not answer that this node follows": {
		func(p *plot) {
			p.Follows, p.FollowsName = netip.MustParseAddr("10.0.0.1"), "h1"
			p.Members[0].Addr, p.Members[0].State, p.Members[0].Seen = p.Follows, gossip.Failed, noon
			p.nodes = nil
		},
		api.Bad, api.ManagerAway, []string{
			"the manager h1 does not answer since 2026-11-29T12:00:00Z", "its address may be another now",
		},
	},
	"the manager's address has changed": {
		func(p *plot) {
			p.Moved = &doctor.Moved{
				From:  netip.MustParseAddr("10.0.0.1"),
				Cards: []doctor.Card{{Name: "eth0", Net: netip.MustParsePrefix("10.0.0.77/24")}},
				First: true,
			}
			for i := range p.nodes[1:] {
				p.nodes[1+i].State, p.nodes[1+i].Agent.State = fleet.StateUnknown, fleet.AgentFailed
			}
		},
		api.Bad, api.AddressGone, []string{
			"no longer has the address 10.0.0.1 (it has 10.0.0.77)", "run `crawlbox recover` here",
			"give it that address again",
		},
	},

	// What the history shows.
	"the last deploy failed": {
		func(p *plot) {
			p.deployed(history.Failed, "spider: its tasks fail: exit 1; deploy a better one")
			p.service.Deploy = p.last.Mark()
			p.tasks[0].State = "starting"
		},
		api.Bad, api.DeployFailed, []string{"its last deploy failed: its tasks fail: exit 1; deploy a better one"},
	},
	"the last deploy was taken back": {
		func(p *plot) {
			p.deployed(history.RolledBack, "spider: the update failed and the old version runs again: exit 1 (on h2)")
		},
		api.Note, api.RolledBack, []string{
			"version 7 did not work, and the one before it is back: exit 1 (on h2); deploy a better one",
			"crawlbox history spider",
		},
	},
	"the last deploy was taken back, long ago": {
		func(p *plot) {
			p.deployed(history.RolledBack, "exit 1")
			p.last.At = noon.Add(-48 * time.Hour)
		},
		api.Note, api.RolledBack, []string{"version 7 did not work"},
	},
	"the last deploy was taken back, and it is not well yet": {
		func(p *plot) {
			p.deployed(history.RolledBack, "exit 1")
			p.tasks[0].Since = noon.Add(-time.Minute)
		},
		api.Warning, api.RolledBack, []string{"version 7 did not work"},
	},
	"the last deploy was cut off": {
		func(p *plot) { p.deployed(history.Interrupted, "the manager stopped; deploy again") },
		api.Note, api.Interrupted, []string{"version 7 was interrupted: the manager stopped; deploy again"},
	},
	"the last deploy was cut off, and not all runs": {
		func(p *plot) {
			p.deployed(history.Interrupted, "the manager stopped; deploy again")
			p.tasks[0].State = "starting"
		},
		api.Warning, api.Interrupted, []string{"version 7 was interrupted"},
	},

	// What the log warns of.
	"the file is broken": {
		func(p *plot) { p.Config = []services.Note{{Kind: services.Broken, Text: "line 3: x"}} },
		api.Bad, api.FileBroken, []string{"line 3: x; see `crawlbox config check`"},
	},
	"the file could not be applied": {
		func(p *plot) { p.Config = []services.Note{{Kind: services.Unready, Text: "no image x; push it"}} },
		api.Warning, api.FileNotApplied, []string{"no image x"},
	},
	"a service is not what the file says": {
		func(p *plot) { p.Config = []services.Note{note("robot", services.Untaken, "it went back; change it")} },
		api.Warning, api.FileNotApplied, []string{"service robot: it went back"},
	},
	"a service is another's": {
		func(p *plot) {
			p.Config = []services.Note{note("spider", services.Foreign, "not crawlbox's; rename it")}
		},
		api.Warning, api.FileNotApplied, []string{"service spider: not crawlbox's"},
	},
	"the file has changed what counts after a restart": {
		func(p *plot) {
			p.Config = []services.Note{{Kind: services.Late, Text: "queue in f counts after a restart; restart it"}}
		},
		api.Warning, api.RestartNeeded, []string{"queue in f counts after a restart"},
	},
	"another manager's services are in force": {
		func(p *plot) {
			p.Config = []services.Note{{Kind: services.NotInForce, Text: "those of h2, not of this one; change it"}}
		},
		api.Note, api.OtherFile, []string{"those of h2, not of this one"},
	},
	"a service left the file": {
		func(p *plot) { p.Config = []services.Note{note("spider", services.Gone, "it runs on; remove it")} },
		api.Note, api.LeftFile, []string{"service spider: it runs on"},
	},
	"a service of the file was removed": {
		func(p *plot) { p.Config = []services.Note{note("robot", services.Removed, "it stays away; deploy it")} },
		api.Note, api.KeptAway, []string{"service robot: it stays away"},
	},
	"a service has no image": {
		func(p *plot) {
			p.Config = []services.Note{note("robot", services.NotDeployed, "not deployed yet; deploy it")}
		},
		api.Note, api.NotDeployed, []string{"service robot: not deployed yet"},
	},
	"the queue does not run": {
		func(p *plot) { p.Queue = &queueproc.State{Problem: "its journal is damaged"} },
		api.Bad, api.QueueDown, []string{"the queue does not run: its journal is damaged; it is tried again"},
	},
	"the queue is full": {
		func(p *plot) {
			p.Queue = &queueproc.State{Serving: true, Progress: queue.Progress{Memory: 10, Bound: 10}}
		},
		api.Bad, api.QueueFull, []string{"the queue is full", "queue.max_memory"},
	},
	"the queue's engine is full": {
		func(p *plot) {
			p.Queue = &queueproc.State{Serving: true, Progress: queue.Progress{Memory: 10, Bound: 10}}
			p.QueueEngine = "redis://h:6379/0"
		},
		api.Bad, api.QueueFull, []string{"the queue's engine redis://h:6379/0 holds as much as its maxmemory"},
	},
	"the queue's Valkey is full": {
		func(p *plot) {
			p.Queue = &queueproc.State{Serving: true, Progress: queue.Progress{Memory: 10, Bound: 10}}
			p.QueueEngine = "valkey"
		},
		api.Bad, api.QueueFull, []string{"the queue is full", "queue.max_memory"},
	},
	"the queue has dead items": {
		func(p *plot) { p.QueueDead = []leases.Dead{{Key: "example:urls", Items: 12}, {Key: "a b\n", Items: 1}} },
		api.Warning, api.QueueDead, []string{
			"dead items, which came back too often: 12 items of example:urls, 1 item of \"a b\\n\"; look",
			"`crawlbox queue dead ls example:urls`",
		},
	},
	"the queue's engine does not answer": {
		func(p *plot) {
			p.Queue = &queueproc.State{Serving: true, Engine: "the queue's engine at h can't be reached (no): start it"}
		},
		api.Bad, api.QueueDown, []string{"the queue's engine at h can't be reached (no): start it; it is tried again"},
	},
	"the queue can't write": {
		func(p *plot) { p.Queue = &queueproc.State{Serving: true, Progress: queue.Progress{NoDisk: true}} },
		api.Bad, api.QueueDisk, []string{"the queue cannot write", "free space"},
	},
	"the queue's sandbox lacks a part": {
		func(p *plot) {
			p.Queue = &queueproc.State{Serving: true, Missing: []sandbox.Missing{{Step: "seccomp", Reason: "no"}}}
		},
		api.Warning, api.QueueSandbox, []string{"the queue's process", "crawlbox install manager"},
	},
}

// partKinds are told by parts of the node of themselves, see node.reports.
var partKinds = []string{
	api.Removed, api.CertificateEnds, api.UpgradeFailed, api.AuditLog, api.NoBackup, api.Restoring, api.StateBehind,
	api.ImagesBehind, api.QueueAlone, api.QueueCopy, api.QueueTaken, api.ScheduleHeld,
	api.AlertsHeld,
}

// TestPlanted plants a problem of every kind that nodes, ls, doctor, the history and the log know,
// and finds it.
func TestPlanted(t *testing.T) {
	t.Parallel()
	if got := healthy().find(); len(got) > 0 {
		t.Fatalf("where all is well: %+v", got)
	}
	found := map[string]bool{}
	for name, tc := range planted {
		p := healthy()
		tc.plant(p)
		list := p.find()
		i := slices.IndexFunc(list, func(p api.Problem) bool { return p.Kind == tc.kind && p.Level == tc.level })
		if i < 0 {
			t.Errorf("%s: got %+v, want a %s of %s", name, list, tc.level, tc.kind)
			continue
		}
		found[tc.kind] = true
		rest := list[i].Text
		for _, part := range tc.says {
			_, after, ok := strings.Cut(rest, part)
			if !ok {
				t.Errorf("%s: %q is not in %q, or not in its place", name, part, list[i].Text)
				continue
			}
			rest = after
		}
		for _, p := range list {
			if !strings.Contains(p.Text, ";") || strings.Contains(p.Text, "\n") {
				t.Errorf("%s: no remedy, or several lines: %q", name, p.Text)
			}
			if what, _, _ := strings.Cut(p.Text, "; "); strings.Contains(what, "node rm") {
				t.Errorf("%s: removes a node first: %q", name, p.Text)
			}
		}
	}
	for _, kind := range api.Kinds {
		if !found[kind] && !slices.Contains(partKinds, kind) {
			t.Errorf("no problem of the kind %s was planted", kind)
		}
	}
}

// A problem that is over is none any longer.
func TestPlanted_Over(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		plant, mend func(*plot)
	}{
		"the file was put back": {
			planted["the last deploy was taken back"].plant,
			func(p *plot) { p.Config = []services.Note{{Service: "spider", Kind: services.AsDefined}} },
		},
		"something else was done since": {
			planted["the last deploy was taken back"].plant,
			func(p *plot) { p.service.UpdateStarted = noon.Add(-time.Minute) },
		},
		"a version that failed runs by now": {
			planted["the last deploy failed"].plant,
			func(p *plot) { p.tasks[0].State = fleet.TaskRunning },
		},
		"what left the file was removed": {
			planted["a service left the file"].plant,
			func(p *plot) { p.service.Name = "another" },
		},
		"its user broke a deploy off": {
			planted["the last deploy was cut off"].plant,
			func(p *plot) { p.last.Why = history.BrokenOff },
		},
		"the manager answers again": {
			planted["the manager does not answer that this node follows"].plant,
			func(p *plot) { p.Members[0].State = gossip.Alive },
		},
		"a crawlbox has just been started": {
			planted["crawlbox was never on a node"].plant,
			func(p *plot) { p.Started = noon.Add(-time.Second) },
		},
		"a replica has only been waiting for a moment": {
			planted["Swarm has forgotten replicas"].plant,
			func(p *plot) {
				for i := range p.nodes {
					p.nodes[i].Updated = noon.Add(-time.Second)
				}
				p.tasks = p.tasks[2:]
				p.service.Desired = 4
			},
		},
	} {
		p := healthy()
		tc.plant(p)
		before := len(p.find())
		tc.mend(p)
		if after := p.find(); before == 0 || len(after) > 0 {
			t.Errorf("%s: %d before, and after that %+v", name, before, after)
		}
	}
}

// TestFind_WorstFirst has all problems at once.
func TestFind_WorstFirst(t *testing.T) {
	t.Parallel()
	p := healthy()
	for _, kind := range partKinds {
		p.Parts = append(p.Parts, api.Problem{Level: api.Note, Kind: kind, Text: kind}, api.Problem{
			Level: api.Bad,
			Kind:  kind,
			Text:  "bad " + kind,
		})
	}
	for _, name := range []string{"a node is drained", "a disk fills", "the queue is full", "two nodes have one name"} {
		planted[name].plant(p)
	}
	list := p.find()
	if len(list) != 2*len(partKinds)+4 {
		t.Errorf("got %+v", list)
	}
	if !slices.IsSortedFunc(list, func(a, b api.Problem) int {
		return slices.Index(api.Levels, a.Level) - slices.Index(api.Levels, b.Level)
	}) {
		t.Errorf("got %+v", list)
	}
	if p.Parts = append(p.Parts, p.Parts...); len(p.find()) != len(list) {
		t.Error("what is said twice is told twice")
	}
}

// Whatever `crawlbox nodes` shows of a node that is not as it should be, there is a problem that
// names it.
func TestNodes_EveryState(t *testing.T) {
	t.Parallel()
	states := []string{fleet.StateReady, fleet.StateDown, fleet.StateUnknown, "disconnected", "unreachable"}
	for _, state := range states {
		for _, availability := range []string{
			fleet.AvailabilityActive, fleet.AvailabilityPause, fleet.AvailabilityDrain,
		} {
			for _, agent := range []string{fleet.AgentAlive, fleet.AgentStopped, fleet.AgentFailed, ""} {
				for _, docker := range []string{"running", fleet.EngineStopped} {
					p := healthy()
					n := &p.nodes[1]
					n.State, n.Availability, n.Agent.State, n.Agent.Docker = state, availability, agent, docker
					if agent == "" {
						n.Agent = nil
					}
					well := state == fleet.StateReady && agent == fleet.AgentAlive && docker == "running" &&
						availability == fleet.AvailabilityActive
					named := slices.ContainsFunc(p.find(), func(p api.Problem) bool {
						return p.Subject == "h2" || p.Kind == api.NodeIdle && strings.Contains(p.Text, "h2 (")
					})
					if named == well {
						t.Errorf("%s, %s, crawlbox %q, Docker %s: %+v", state, availability, agent, docker, p.find())
					}
				}
			}
		}
	}
}
