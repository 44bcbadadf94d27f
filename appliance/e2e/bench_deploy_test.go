package e2e

import (
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

const (
	deployHosts  = 20
	deployRate   = "100mbit" // of each host's network card
	deployRounds = 2         // of each way
)

// The ways to bring a service to a new version.
const (
	wayCrawlbox   = iota // `crawlbox update`
	wayByHand            // the walkthrough's `docker service update`
	wayFloor             // that with the image on all hosts already, and crawlbox's share at once
	wayStartFirst        // `crawlbox deploy --start-first`
	deployWays
)

// BenchmarkDeploy brings a new version of a 42 MB image, of which 10 MB are new, to
// 20 servers that run one replica each, in turn with `crawlbox update` and with
// the walkthrough's `docker service update`. The floor is what Swarm itself takes to
// stop and start as many replicas at once as crawlbox has it do, and to watch them,
// without any image to bring: a task on the host's network runs on for 3 s after Swarm
// has been told to stop it. Where a host has room for a second replica nobody waits for
// that: --start-first. Of each it gives the time until the command says that all run
// it, and of crawlbox the least share of the replicas that ran meanwhile.
func BenchmarkDeploy(b *testing.B) {
	l := newBenchLab(b)
	hosts := make([]*lab.Host, deployHosts)
	for i := range hosts {
		hosts[i] = l.AddHost(lab.Rate(deployRate))
	}
	d := &deploying{observer: newObserver(b, hosts[0]), manager: hosts[0], next: 2}
	d.begin(hosts)
	var took [deployWays][]time.Duration
	least := deployHosts
	for round := range deployRounds {
		order := []int{wayCrawlbox, wayByHand, wayFloor, wayStartFirst}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, way := range order {
			t, ran := d.round(hosts, way)
			b.Logf("%s: updated after %v, at least %d of %d ran; load %s",
				[]string{"crawlbox", "by hand", "floor", "crawlbox, start first"}[way], t, ran, deployHosts, load())
			took[way] = append(took[way], t)
			if way == wayCrawlbox || way == wayStartFirst {
				least = min(least, ran)
			}
		}
	}
	report(b, "s/update", took[wayCrawlbox])
	report(b, "s/update-by-hand", took[wayByHand])
	report(b, "s/update-floor", took[wayFloor])
	report(b, "s/update-start-first", took[wayStartFirst])
	b.ReportMetric(100*float64(least)/deployHosts, "%running-at-least")
	b.ReportMetric(median(took[wayByHand]).Seconds()/median(took[wayCrawlbox]).Seconds(), "x-faster")
	b.ReportMetric(median(took[wayByHand]).Seconds()/median(took[wayStartFirst]).Seconds(), "x-faster-start-first")
}

// deploying is one service by hand and two of crawlbox, on the same servers.
type deploying struct {
	observer
	manager *lab.Host
	images  []string // by version, from 1 on
	next    int      // version
}

// gather makes a cluster of the hosts.
func (d *deploying) gather(hosts []*lab.Host) {
	d.b.Helper()
	p := d.manager.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(d.b, patience, "the manager", func() error { return said(p, "manager is ready") })
	line := strings.Fields(d.manager.MustExec("crawlbox", "token"))
	for _, h := range hosts[1:] {
		h.Start("crawlbox", line...)
	}
	lab.WaitFor(d.b, scalePatience, "all nodes", func() error { return want(len(d.ready()), len(hosts)) })
}

func (d *deploying) begin(hosts []*lab.Host) {
	d.b.Helper()
	d.gather(hosts)
	for v := range 2 + deployWays*deployRounds {
		d.images = append(d.images, fmt.Sprintf("localhost:8003/spider:%d", v))
	}
	for i, tar := range artifact.Versions(d.b, d.images...) {
		d.manager.Load(tar)
		d.manager.Docker("push", "--quiet", d.images[i])
	}
	d.must("crawlbox", "deploy", d.images[1], "--name", "box", "--replicas", fmt.Sprint(deployHosts), "--max-per-node",
		"1")
	d.must("crawlbox", "deploy", d.images[1], "--name", "first", "--replicas", fmt.Sprint(deployHosts))
	d.must("docker", "service", "create", "--quiet", "--name", "hand", "--replicas", fmt.Sprint(deployHosts),
		"--replicas-max-per-node", "1",
		"--network", "host", d.byHand(d.images[1]))
}

// byHand is how the walkthrough names an image.
func (d *deploying) byHand(image string) string {
	return strings.Replace(image, "localhost", d.manager.IP().String(), 1)
}

func (d *deploying) must(command ...string) {
	d.b.Helper()
	if err := d.manager.Exec(d.b.Context(), command...).Err(); err != nil {
		d.b.Fatalf("%v: %v", command, err)
	}
}

// round updates one of the services to a version that no server has yet.
func (d *deploying) round(hosts []*lab.Host, way int) (took time.Duration, least int) {
	d.b.Helper()
	image, service := d.images[d.next], "hand"
	d.next++
	command := []string{"docker", "service", "update", "--update-parallelism", "1", "--image", d.byHand(image), "hand"}
	switch way {
	case wayCrawlbox:
		command, service = []string{"crawlbox", "update", "box", "--image", image}, "box"
	case wayStartFirst:
		command, service = []string{"crawlbox", "deploy", image, "--name", "first", "--start-first"}, "first"
	case wayFloor:
		for _, h := range hosts {
			h.Docker("pull", "--quiet", d.byHand(image))
		}
		command[4] = fmt.Sprint(deployHosts / 4)
	}
	calm(d.b)
	begun := time.Now()
	p := d.manager.Start("update", command...)
	least = d.running(service)
	for tick := time.Tick(200 * time.Millisecond); ; <-tick {
		select {
		case <-p.Done():
			if code, err := p.Wait(d.b.Context()); code != 0 || err != nil {
				d.b.Fatalf("%v ended with %d, %v: %s", command, code, err, p.Logs())
			}
			return time.Since(begun), least
		default:
			least = min(least, d.running(service))
		}
	}
}

// running is how many tasks of a service run, of whatever version.
func (d *deploying) running(service string) (n int) {
	d.b.Helper()
	var tasks []struct{ Status struct{ State string } }
	d.get("/tasks?filters="+url.QueryEscape(fmt.Sprintf(`{"service":[%q]}`, service)), &tasks)
	for _, t := range tasks {
		if t.Status.State == "running" {
			n++
		}
	}
	return n
}

const (
	coldHosts = 50
	coldSize  = 40e6 // bytes of the image, of which no host has anything
)

// BenchmarkDeployCold deploys a service that no host has anything of on 50 servers, one replica
// each, while as many programs as there are processors do nothing but keep them busy: what
// starves must not be taken for dead. Each round has to end well, and with all replicas running.
// Ten of them: make bench BENCH=DeployCold BENCHTIME=10x.
func BenchmarkDeployCold(b *testing.B) {
	l := newBenchLab(b)
	hosts := l.AddHosts(coldHosts)
	d := &deploying{observer: newObserver(b, hosts[0]), manager: hosts[0]}
	for _, h := range hosts { // what has been pulled before need not be kept
		h.WriteFile("/etc/crawlbox/crawlbox.yaml", "mirror:\n  max_size: 100MB\n")
	}
	d.gather(hosts)
	for range runtime.NumCPU() {
		d.manager.Start("busy", "sh", "-c", "while :; do :; done")
	}
	var took []time.Duration
	for round := range b.N {
		image := fmt.Sprintf("localhost:8003/cold:%d", round+1)
		d.manager.Load(artifact.TinyImage(b, image, coldSize+int64(round)))
		d.manager.Docker("push", "--quiet", image)
		begun := time.Now()
		r := d.manager.Exec(b.Context(), "crawlbox", "deploy", image, "--replicas", fmt.Sprint(coldHosts),
			"--max-per-node", "1")
		if err := want(d.running("cold"), coldHosts); r.Err() != nil || err != nil {
			b.Fatalf("round %d of %d after %v: %v, %v\n%s", round+1, b.N, time.Since(begun), r.Err(), err, r.Stdout)
		}
		took = append(took, time.Since(begun))
		b.Logf("deployed after %v; load %s", took[round], load())
		d.must("crawlbox", "rm", "cold")
		d.onAll(hosts, "docker", "image", "prune", "--all", "--force")
	}
	report(b, "s/deploy-50-cold", took)
	b.ReportMetric(slices.Max(took).Seconds(), "s/deploy-50-cold-worst")
}
