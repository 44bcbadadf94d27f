package apitest

import (
	"fmt"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func someNodes(now time.Time) []fleet.Node {
	nodes := []fleet.Node{
		{
			ID:      "n1aaaaaaaaaaaaaaaaaaaaaaa",
			Name:    "h1",
			Role:    fleet.RoleManager,
			Leader:  true,
			Self:    true,
			Addr:    "10.77.0.11",
			Running: 4,
		},
		{
			ID:      "n2bbbbbbbbbbbbbbbbbbbbbbb",
			Name:    "h2",
			Role:    fleet.RoleWorker,
			Addr:    "10.77.0.12",
			Running: 2,
		},
		{
			ID:           "n3ccccccccccccccccccccccc",
			Name:         "h3",
			Role:         fleet.RoleWorker,
			Availability: fleet.AvailabilityDrain,
			Addr:         "203.113.155.133",
		},
		{
			ID:    "n4ddddddddddddddddddddddd",
			Name:  "slave-frankfurt-4",
			Role:  fleet.RoleWorker,
			State: "down",
			Addr:  "198.119.247.104",
		},
	}
	for i := range nodes {
		n := &nodes[i]
		n.Engine, n.CPUs, n.Memory = "20.10.24+dfsg1", 2, 4<<30
		n.Agent = &fleet.Agent{
			State:    "alive",
			Version:  "0.1.0",
			FreeDisk: int64(41_300_000_000 / (i + 1)),
			Docker:   "running",
			Seen:     now,
		}
		if n.State == "" {
			n.State = fleet.StateReady
		}
		if n.Availability == "" {
			n.Availability = fleet.AvailabilityActive
		}
	}
	nodes[2].Agent = nil
	nodes[3].Agent.State, nodes[3].Agent.Seen = "failed", now.Add(-2*time.Hour)
	fleet.NameNodes(nodes)
	return nodes
}

func someImages(now time.Time) []fleet.Image {
	image := func(repository, tag string, size int64, age time.Duration, used ...string) fleet.Image {
		d := digest(repository + tag)
		return fleet.Image{
			Repository: repository,
			Tag:        tag,
			Digest:     d,
			Size:       size,
			Pushed:     now.Add(-age),
			Used:       used,
		}
	}
	images := []fleet.Image{
		image("robot", "2", 42_100_000, 26*time.Hour, "robot"),
		image("spider", "0.01", 251_000_000, 3*time.Hour, "spider", "batch"),
		image("spider", "0.02", 251_400_000, 4*time.Minute),
		image("teams/research/very-long-name-of-a-crawler-image", "2024-11-22-nightly", 1_300_000_000, 90*24*time.Hour),
	}
	for i := range images[:3] {
		images[i].Nodes = &fleet.Holders{Have: 3 - i, All: 4, Unknown: 1}
	}
	return images
}

func someTokens(now time.Time) []token.Info {
	day := 24 * time.Hour
	return []token.Info{
		{
			ID:       "aaaa",
			Role:     fleet.RoleWorker,
			State:    token.StateGood,
			Created:  now.Add(-30 * day),
			Used:     3,
			Standing: true,
		},
		{
			ID:       "bbbb",
			Role:     fleet.RoleManager,
			State:    token.StateGood,
			Created:  now.Add(-30 * day),
			Standing: true,
		},
		{
			ID:      "cccc",
			Role:    fleet.RoleWorker,
			State:   token.StateExpired,
			Created: now.Add(-3 * day),
			Expires: now.Add(-2 * day),
		},
		{
			ID:      "dddd",
			Role:    fleet.RoleWorker,
			State:   token.StateUsedUp,
			Created: now.Add(-5 * time.Hour),
			Expires: now.Add(19 * time.Hour),
			Uses:    5,
			Used:    5,
		},
		{
			ID:      "eeee",
			Role:    fleet.RoleManager,
			State:   token.StateRevoked,
			Created: now.Add(-time.Hour),
			Uses:    1,
		},
		{
			ID:      "ffff",
			Role:    fleet.RoleWorker,
			State:   token.StateGood,
			Created: now.Add(-time.Minute),
			Expires: now.Add(7 * day),
			Uses:    5,
			Used:    2,
		},
	}
}

func someAccounts(now time.Time) []api.RegistryAccount {
	return []api.RegistryAccount{
		{Name: "ci", Created: now.Add(-26 * time.Hour)},
		{Name: "laptop", Created: now.Add(-time.Minute)},
	}
}

func digest(of string) string {
	return "sha256:" + strings.Repeat(fmt.Sprintf("%02x", len(of)), 32)
}

func someServices(now time.Time) ([]fleet.Service, []fleet.Task) {
	service := func(name, mode, image string, desired int, age time.Duration) fleet.Service {
		at := now.Add(-age)
		return fleet.Service{
			ID:       "s-" + name,
			Name:     name,
			Mode:     mode,
			Image:    image,
			Digest:   digest(image),
			Desired:  desired,
			Replicas: -1,
			Created:  at,
			Updated:  at,
		}
	}
	services := []fleet.Service{
		service("batch", fleet.ModeReplicated, "localhost:8003/spider:0.01", 2, 50*time.Minute),
		service("broken", fleet.ModeReplicated, "localhost:8003/broken:9", 1, 5*time.Minute),
		service("robot", fleet.ModeGlobal, "localhost:8003/robot:2", 2, 26*time.Hour),
		service("spider", fleet.ModeReplicated, "localhost:8003/spider:0.01", 3, 3*time.Hour),
	}
	services[0].Complete, services[0].Took, services[1].Failed = 2, 9*time.Minute, 1
	services[2].Running, services[3].Running = 2, 3
	services[3].Managed, services[3].Replicas = true, 3

	task := func(service, slot, node int, state string, age time.Duration) fleet.Task {
		return someTask(services[service], slot, node, state, now.Add(-age))
	}
	tasks := []fleet.Task{
		task(0, 1, 1, fleet.TaskComplete, 40*time.Minute),
		task(0, 2, 2, fleet.TaskComplete, 41*time.Minute),
		task(1, 1, 2, fleet.TaskRejected, 2*time.Minute),
		task(2, 0, 1, fleet.TaskRunning, 26*time.Hour),
		task(2, 0, 2, fleet.TaskRunning, 26*time.Hour),
		task(3, 1, 1, fleet.TaskRunning, 3*time.Hour),
		task(3, 2, 1, fleet.TaskRunning, 5*time.Minute),
		task(3, 2, 2, fleet.TaskFailed, 6*time.Minute),
		task(3, 3, 1, fleet.TaskRunning, 3*time.Hour),
	}
	tasks[2].Error = "No such image: localhost:8003/broken:9@" + services[1].Digest
	tasks[7].Error, tasks[7].ExitCode, tasks[7].Desired = "exit code 1", 1, fleet.TaskShutdown
	return services, tasks
}

func someTask(of fleet.Service, slot, node int, state string, since time.Time) fleet.Task {
	id := fmt.Sprintf("t%s%d%d", of.Name, slot, node)
	return fleet.Task{
		ID:        id,
		ServiceID: of.ID,
		Service:   of.Name,
		Slot:      slot,
		NodeID:    "n",
		Node:      fmt.Sprintf("h%d", node),
		Image:     of.Image,
		Digest:    of.Digest,
		State:     state,
		Desired:   fleet.TaskRunning,
		Container: "c" + id,
		Created:   since,
		Since:     since,
		Version:   1,
	}
}

func someHistory(service string, now time.Time) []history.Entry {
	entry := func(version int, age, took time.Duration, kind string, result history.Result) history.Entry {
		tag := fmt.Sprintf("0.%02d", version)
		return history.Entry{
			Version: version,
			Image:   "localhost:8003/" + service + ":" + tag,
			Digest:  digest(service + tag),
			At:      now.Add(-age),
			By:      "root",
			Kind:    kind,
			Stage:   history.StageWatch,
			Result:  result,
			Took:    took,
		}
	}
	bad := entry(2, 2*time.Hour, 21*time.Second, history.KindDeploy, history.RolledBack)
	bad.Why = service + ": the update failed and the old version runs again: exit code 1 on h2"
	back := entry(3, time.Hour, 9*time.Second, history.KindRollback, history.Done)
	back.Image, back.Digest, back.From = "localhost:8003/"+service+":0.01", digest(service+"0.01"), 1
	back.Why = "1 replica ended while the queue was away, which does not count"
	return []history.Entry{back, bad, entry(1, 26*time.Hour, 12300*time.Millisecond, history.KindDeploy, history.Done)}
}
