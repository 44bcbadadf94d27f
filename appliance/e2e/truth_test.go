package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestTruth plants on real hosts what an operator may do, or what may happen, and wants the status
// to say so with a remedy that works; once that was done it says nothing more.
func TestTruth(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 2)
	for i := range 3 {
		c.push(fmt.Sprintf("localhost:8003/spider:%d", i+1))
	}
	c.run("deploy", "localhost:8003/spider:1", "--replicas", "3", "--monitor", "1s")
	c.awaitSpread("spider", 3)
	c.awaitNoProblem()

	// In this order: what one leaves the next begins with.
	t.Run("Docker is stopped on a node", func(t *testing.T) { c.sub(t).dockerStops() })
	t.Run("crawlbox is stopped on a node", func(t *testing.T) { c.sub(t).crawlboxStops() })
	t.Run("nodes are drained", func(t *testing.T) { c.sub(t).nodesAreDrained() })
	t.Run("Swarm forgets replicas", func(t *testing.T) { c.sub(t).swarmForgets() })
	t.Run("the manager's address changes", func(t *testing.T) { c.sub(t).addressChanges() })
}

// TestTruthOfServices does the same where nodes don't matter.
func TestTruthOfServices(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 0)
	for i := range 3 {
		c.push(fmt.Sprintf("localhost:8003/spider:%d", i+1))
	}
	t.Run("a version never worked", func(t *testing.T) { c.sub(t).neverWorked() })
	t.Run("a service of the file", func(t *testing.T) { c.sub(t).serviceOfTheFile() })
}

// status reads the status.
func (c *cluster) status() (st api.Status) { c.Helper(); c.read(&st, "status"); return st }

// wrong returns the problems of a status that are more than notes.
func wrong(st api.Status) []api.Problem {
	return slices.DeleteFunc(st.Problems, func(p api.Problem) bool { return p.Level == api.Note })
}

// awaitProblem waits until the status has a problem of a kind whose text has all parts.
func (c *cluster) awaitProblem(kind string, parts ...string) {
	c.Helper()
	lab.WaitFor(c, patience, "a problem of the kind "+kind, func() error {
		for _, p := range c.status().Problems {
			if p.Kind == kind && missing(p.Text, parts) == "" {
				return nil
			}
		}
		return fmt.Errorf("the status has %+v", c.status().Problems)
	})
}

// awaitNoProblem waits until nothing is wrong.
func (c *cluster) awaitNoProblem() {
	c.Helper()
	lab.WaitFor(c, patience, "a status without problems", func() error {
		if r := c.manager.Exec(c.Context(), "crawlbox", "status", "--check"); r.Code != 0 {
			return fmt.Errorf("exit code %d: %s", r.Code, r.Stdout)
		}
		return nil
	})
}

// dockerStops: all that shows the cluster says the same at the same time, before Swarm notices.
func (c *cluster) dockerStops() {
	h := c.hosts[2]
	h.StopDocker()
	c.awaitDockerOf(h, "stopped")
	status, ls, nodes := c.run("status"), c.services()[0], c.node(h)
	contains(c.T, strings.Join(strings.Fields(status), " "), "Tasks: 2/3 running",
		fmt.Sprintf("Docker does not answer on node %s (%s)", h.Name(), h.IP()), "systemctl start docker",
		"nothing is known of 1: Docker does not answer on "+h.Name())
	if ls.Running != 2 || ls.Lost != 1 || nodes.Running != 0 {
		c.Errorf("ls has %d running and %d lost, nodes %d on %s", ls.Running, ls.Lost, nodes.Running, h.Name())
	}
	var tasks []fleet.Task
	c.read(&tasks, "ps", "spider")
	if !slices.ContainsFunc(tasks, func(t fleet.Task) bool { return t.Node == h.Name() && t.Lost != "" }) {
		c.Errorf("ps has %+v", tasks)
	}
	if strings.Contains(status, "node rm") {
		c.Errorf("it would remove a node whose Docker is stopped: %s", status)
	}
	c.awaitProblem(api.DockerStopped, "which is down", "systemctl start docker")
	h.StartDocker()
	c.awaitReady(3)
	c.awaitProblem(api.NodeIdle, "none on "+h.Name(), "crawlbox restart spider")
	c.awaitNoProblem()
}

// crawlboxStops: deploys go on without the node, which is used again once crawlbox is back.
func (c *cluster) crawlboxStops() {
	h := c.hosts[2]
	c.stop(h)
	c.awaitProblem(api.CrawlboxStopped, "crawlbox is stopped on node "+h.Name(), "systemctl start crawlbox")
	said := c.run("deploy", "localhost:8003/spider:2", "--parallelism", "all")
	contains(c.T, said, "no crawlbox runs on "+h.Name(), "2/2 nodes have it", "3 running")
	for _, t := range c.tasks("spider") {
		if t.Node == h.Name() {
			c.Errorf("a replica runs on %s, where no crawlbox does", h.Name())
		}
	}
	c.awaitProblem(api.CrawlboxStopped, "nothing new of spider starts there")
	contains(c.T, c.fails(c.manager, 1, "deploy", "localhost:8003/spider:3", "--max-per-node", "1"),
		"3 replicas do not fit on 2 nodes with 1 on each at most, and nothing was changed", "systemctl start crawlbox")

	running := c.containers()
	c.startWorker(h)
	lab.WaitFor(c, patience, "the service to use the node again", func() error {
		return want(len(c.services()[0].Avoids), 0)
	})
	if now := c.containers(); now != running {
		c.Errorf("containers were\n%s\nand are\n%s", running, now)
	}
	c.awaitNoProblem()
}

// nodesAreDrained leaves all on one node.
func (c *cluster) nodesAreDrained() {
	first, others := c.hosts[0].Name(), []string{c.hosts[1].Name(), c.hosts[2].Name()}
	c.run(append([]string{"node", "drain"}, others...)...)
	lab.WaitFor(c, patience, "all tasks on one node", func() error {
		n := 0
		for _, t := range c.tasks("spider") {
			if t.Node == first {
				n++
			}
		}
		return want(n, 3)
	})
	c.awaitNoProblem() // somebody wanted it so
	c.awaitProblem(api.NodeIdle, "2 of 3 nodes get no tasks", "crawlbox node activate "+strings.Join(others, " "))
	contains(c.T, c.run("status"), "3/3 ready, 1 takes tasks")
	c.run(append([]string{"node", "activate"}, others...)...)
	c.awaitProblem(api.Uneven, "all 3 replicas run on "+first, "crawlbox restart spider")
	if code := c.manager.Exec(c.Context(), "crawlbox", "status", "--check").Code; code != 3 {
		c.Errorf("of a warning alone the exit code is %d", code)
	}
	c.run("restart", "spider")
	c.awaitSpread("spider", 3)
	c.awaitNoProblem()
}

// swarmForgets drains all nodes, scales, and activates the nodes: Swarm has some replicas wait for
// ever.
func (c *cluster) swarmForgets() {
	var names []string
	for _, h := range c.hosts {
		names = append(names, h.Name())
	}
	c.run(append([]string{"node", "drain", "--yes"}, names...)...)
	c.awaitProblem(api.NoNode, "no node takes tasks", "crawlbox node activate")
	c.manager.Docker("service", "scale", "--detach", "spider=4")
	lab.WaitFor(c, patience, "four replicas that wait", func() error {
		var tasks []fleet.Task
		c.read(&tasks, "ps", "spider")
		waiting := slices.DeleteFunc(tasks, func(t fleet.Task) bool {
			return t.State != fleet.TaskPending || t.Desired != fleet.TaskRunning
		})
		return want(len(waiting), 4)
	})
	c.run(append([]string{"node", "activate"}, names...)...)
	c.awaitProblem(api.ServiceForgotten, "for a node, though nodes could take", "`crawlbox restart spider`")
	if status := c.run("status"); strings.Contains(status, "not available for new tasks") {
		c.Errorf("the reason of then is told: %s", status)
	}
	contains(c.T, c.run("ps", "spider"), "Swarm has forgotten it")
	c.run("restart", "spider")
	c.awaitRunning("spider", 4)
	c.awaitNoProblem()
}

// neverWorked: nothing is said to have come back that never worked.
func (c *cluster) neverWorked() {
	for range 2 {
		r := c.manager.Exec(c.Context(), "crawlbox", "deploy", "localhost:8003/spider:1", "--name", "bad", "--env",
			"TINY_EXIT=3")
		if r.Code != 1 || strings.Contains(r.Stderr, "runs again") {
			c.Errorf("exit code %d: %s", r.Code, r.Stderr)
		}
	}
	contains(c.T, c.run("history", "bad"), "the version before never worked either", "failed")
	c.awaitProblem(api.DeployFailed, "its last deploy failed", "crawlbox rm bad")
	c.run("rm", "bad")
	c.awaitNoProblem()
}

// serviceOfTheFile is deployed by hand, removed by hand, and leaves the file.
func (c *cluster) serviceOfTheFile() {
	file := func(replicas int) string {
		return fmt.Sprintf("services:\n  zed:\n    image: localhost:8003/spider:9\n"+
			"    deploy: {replicas: %d, update_config: {monitor: 1s}}\n", replicas)
	}
	c.configure(file(2))
	c.awaitProblem(api.FileNotApplied, "no image localhost:8003/spider:9")
	contains(c.T, c.run("deploy", "localhost:8003/spider:1", "--name", "zed"), "what stands there", "spider:1 there",
		"2 running")
	contains(c.T, c.fails(c.manager, 2, "deploy", "localhost:8003/spider:1", "--name", "zed", "--replicas", "5"),
		"zed is a service of "+configFile, "--replicas")
	c.awaitNoProblem()

	contains(c.T, c.run("rm", "zed"), "it stays away until its definition there changes", "crawlbox deploy zed")
	c.awaitProblem(api.KeptAway, "stays away", "crawlbox deploy zed")
	c.restartManager()
	c.awaitProblem(api.KeptAway, "stays away")
	c.awaitServices()
	c.push("localhost:8003/spider:9")
	contains(c.T, c.run("deploy", "zed"), "2 running")
	c.run("rm", "zed")
	c.configure(file(1)) // another definition
	c.awaitServices("zed")
	c.awaitRunning("zed", 1)
	c.awaitNoProblem()

	c.configure("")
	c.awaitProblem(api.LeftFile, "no longer in crawlbox.yaml and runs on", "crawlbox rm zed")
	c.run("rm", "zed")
	lab.WaitFor(c, patience, "no word of what is gone", func() error {
		return want(strings.Contains(c.run("status"), "zed"), false)
	})

	// One that was deployed before the file named it.
	c.run("deploy", "localhost:8003/spider:2", "--name", "web", "--monitor", "1s")
	c.configure("services:\n  web:\n    image: localhost:8003/spider:3\n" +
		"    deploy: {replicas: 2, update_config: {monitor: 1s}}\n")
	c.awaitProblem(api.FileNotApplied, "service web", "deployed otherwise before", "`crawlbox deploy web`")
	contains(c.T, c.run("deploy", "web"), "spider:3", "2 running")
	c.awaitNoProblem()
	c.configure("")
	c.run("rm", "web")
	c.awaitNoProblem()
}

// addressChanges gives the manager another address, as a lease that ran out does.
func (c *cluster) addressChanges() {
	c.stop(c.manager)
	c.manager.StopDocker()
	was := c.manager.IP()
	own, other := was.String(), netip.MustParseAddr("10.99.200.200")
	c.manager.Renumber(other)
	c.manager.StartDocker()
	started := time.Now()
	c.agents[c.manager] = c.manager.Start("crawlbox", "crawlbox", "manager")
	c.awaitAgent(c.manager)
	said := []string{
		"no longer has the address " + own, other.String(), "ip addr add " + own + "/16 dev eth0",
		"crawlbox recover",
	}
	c.awaitProblem(api.AddressGone, said...)
	contains(c.T, strings.Join(strings.Fields(c.run("nodes")), " "), said...)
	contains(c.T, c.agents[c.manager].Logs(), said...)
	took := time.Since(started)
	c.Logf("all say what has happened %s after the start", took.Round(time.Millisecond))
	if took > 10*time.Second {
		c.Errorf("they say what has happened %s after the start", took)
	}
	lab.WaitFor(c, patience, "the nodes to be down", func() error { return want(c.status().Nodes.Have, 1) })
	if status := c.run("status"); strings.Contains(status, "node rm") {
		c.Errorf("it would remove nodes that do not find it: %s", status)
	}
	contains(c.T, c.manager.Exec(c.Context(), "crawlbox", "doctor").Stdout, "no longer has the address "+own)
	_, after, told := strings.Cut(c.agents[c.manager].Logs(), "this node runs, but others do not find it")
	if !told || strings.Contains(after, "is ready") {
		c.Errorf("it says that it is ready: %s", after)
	}
	contains(c.T, c.hosts[1].MustExec("crawlbox", "status"), "does not answer since", "its address may be another now")

	c.stop(c.manager)
	c.manager.StopDocker()
	c.manager.Renumber(was)
	c.manager.StartDocker()
	c.startManager()
	c.awaitReady(3)
	lab.WaitFor(c, patience, "a status without other problems than where replicas are", func() error {
		left := slices.DeleteFunc(wrong(c.status()), func(p api.Problem) bool { return p.Kind == api.Uneven })
		if len(left) > 0 {
			return fmt.Errorf("the status has %+v", left)
		}
		return nil
	})
}
