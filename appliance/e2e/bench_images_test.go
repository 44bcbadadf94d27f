package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// imageSize is that of the images of artifact.Versions, in bytes.
const imageSize = 42e6

// BenchmarkImages brings an image of 42 MB in four layers of noise, which no host
// has anything of, to all hosts, until Swarm runs a task on each; to one host by
// docker pull. Each round goes three ways, with the images removed from the engines
// in between:
//
//	crawlbox  localhost:8003/IMAGE, from nothing
//	floor     the same once more: each host has all on loopback, and what is left
//	          is Docker's own work on the processors of this machine
//	star      MASTER:8003/IMAGE: every host pulls from the manager
//
// Before that each host has run a small image of the manager's: what Docker does the
// first time only would else count for the way that comes first. Times are medians of
// the rounds. one-copy is the size of the image by the rate of the network cards.
// copies-sent is the most that left the manager's card in a round, in images; of what
// the workers' mirrors got, %from-peers came from each other. One case alone: make bench
// BENCH=Images/20-hosts-20mbit.
func BenchmarkImages(b *testing.B) {
	for _, c := range []struct {
		name          string
		hosts, rounds int
		rate          string  // of the network cards
		bits          float64 // the same in bits a second
	}{
		{"1-host-100mbit", 1, 7, "100mbit", 100e6},
		{"20-hosts-100mbit", 20, 2, "100mbit", 100e6},
		{"20-hosts-20mbit", 20, 1, "20mbit", 20e6},
		{"50-hosts-100mbit", 50, 1, "100mbit", 100e6},
	} {
		b.Run(c.name, func(b *testing.B) {
			l := newBenchLab(b)
			hosts := l.AddHosts(max(c.hosts, 2), lab.Rate(c.rate))
			d := &distributing{observer: newObserver(b, hosts[0]), hosts: hosts, manager: hosts[0], workers: hosts[1:]}
			d.begin(c.rounds)
			bring := d.run
			if c.hosts == 1 {
				bring = d.pull
			}
			d.meet(bring)
			for round := range c.rounds {
				d.round(fmt.Sprintf("spider:%d", round+1), bring)
			}
			d.report(imageSize * 8 / c.bits)
		})
	}
}

// distributing is a cluster to whose hosts an image is brought.
type distributing struct {
	observer
	hosts   []*lab.Host
	manager *lab.Host
	workers []*lab.Host

	took  [len(ways)][]time.Duration
	sent  [len(ways)]float64 // bytes from the manager, the most of all rounds
	peers float64            // share of what the workers' mirrors got, mean of the rounds so far
}

const (
	crawlboxWay = iota
	floorWay
	starWay
)

// ways are how an image is brought, in their order.
var ways = [...]string{crawlboxWay: "crawlbox", floorWay: "floor", starWay: "star"}

// round brings an image in all ways.
func (d *distributing) round(image string, bring func(ref string) time.Duration) {
	d.b.Helper()
	for way, from := range [len(ways)]string{"localhost", "localhost", d.manager.IP().String()} {
		got := d.got()
		calm(d.b)
		warm(d.b, len(d.hosts)*4*imageSize) // the blobs in a mirror, in Docker's hands, unpacked, and some
		sent := d.leftManager()
		took := bring(from + ":8003/" + image)
		d.onAll(d.hosts, "docker", "image", "prune", "--all", "--force")
		sent = d.leftManager() - sent
		d.took[way] = append(d.took[way], took)
		d.sent[way] = max(d.sent[way], sent)
		after := d.got()
		fromManager, fromNodes := after.FromManager-got.FromManager, after.FromNodes-got.FromNodes
		if way == crawlboxWay {
			share := float64(fromNodes) / float64(fromManager+fromNodes)
			d.peers += (share - d.peers) / float64(len(d.took[way]))
		} else if fromManager+fromNodes > 1e6 {
			d.b.Errorf("%s: the mirrors got %d bytes", ways[way], fromManager+fromNodes)
		}
		d.b.Logf("%s: %v, %.0f MB left the manager, the mirrors got %.0f MB from it and %.0f MB from nodes; load %s",
			ways[way], took,
			sent/1e6, float64(fromManager)/1e6, float64(fromNodes)/1e6, load())
	}
}

// report gives all columns; oneCopy is in seconds.
func (d *distributing) report(oneCopy float64) {
	for way, name := range ways {
		report(d.b, "s/"+name, d.took[way])
	}
	took := func(way int) float64 { return median(d.took[way]).Seconds() }
	d.b.ReportMetric(oneCopy, "s/one-copy")
	d.b.ReportMetric((took(crawlboxWay)-took(floorWay))/oneCopy, "copies-above-floor")
	d.b.ReportMetric(took(crawlboxWay)/took(starWay), "x-star")
	d.b.ReportMetric(d.sent[crawlboxWay]/imageSize, "copies-sent")
	d.b.ReportMetric(d.sent[starWay]/imageSize, "copies-sent-star")
	d.b.ReportMetric(100*d.peers, "%from-peers")
	d.b.ReportMetric(float64(runtime.NumCPU()), "cores")
}

func (d *distributing) begin(images int) {
	d.b.Helper()
	p := d.manager.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(d.b, patience, "the manager", func() error { return said(p, "manager is ready") })
	for i := range images {
		ref := fmt.Sprintf("localhost:8003/spider:%d", i+1)
		d.manager.Load(artifact.Versions(d.b, ref)[0])
		d.manager.Docker("push", "--quiet", ref)
	}
	line := strings.Fields(d.manager.MustExec("crawlbox", "token"))
	for _, h := range d.workers {
		h.Start("crawlbox", line...)
	}
	lab.WaitFor(d.b, scalePatience, "all nodes", func() error { return want(len(d.ready()), len(d.hosts)) })
	d.onAll(d.hosts, "docker", "image", "prune", "--all", "--force")
}

// meet has all hosts run an image of 1 MB that the manager gives them.
func (d *distributing) meet(bring func(ref string) time.Duration) {
	d.b.Helper()
	d.manager.Load(artifact.TinyImage(d.b, "localhost:8003/first:1", 1e6))
	d.manager.Docker("push", "--quiet", "localhost:8003/first:1")
	bring(d.manager.At(8003) + "/first:1")
	d.onAll(d.hosts, "docker", "image", "prune", "--all", "--force")
}

// pull has the first worker pull the image, and returns what that takes.
func (d *distributing) pull(ref string) time.Duration {
	d.b.Helper()
	begun := time.Now()
	slow(d.b, d.workers[0], "docker", "pull", "--quiet", ref)
	return time.Since(begun)
}

// run creates a service with a task on each host, and returns after what time the
// last of them ran, by Swarm's stamps. Nothing of it is left but the image.
func (d *distributing) run(ref string) time.Duration {
	d.b.Helper()
	begun := time.Now()
	d.manager.Docker("service", "create", "--detach", "--name", "s", "--mode", "global", "--network", "host",
		"--stop-grace-period", "1s", ref)
	var last time.Time
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	lab.WaitFor(d.b, scalePatience, "a task on each host", func() error {
		<-tick.C
		var tasks []task
		d.get("/tasks?filters="+url.QueryEscape(`{"service":["s"],"desired-state":["running"]}`), &tasks)
		running := slices.DeleteFunc(tasks, func(t task) bool { return t.Status.State != "running" })
		if len(running) != len(d.hosts) {
			return fmt.Errorf("%d of %d run", len(running), len(d.hosts))
		}
		last = slices.MaxFunc(running,
			func(a, b task) int { return a.Status.Timestamp.Compare(b.Status.Timestamp) }).Status.Timestamp
		return nil
	})
	d.manager.Docker("service", "rm", "s")
	lab.WaitFor(d.b, patience, "no tasks", func() error {
		var tasks []task
		d.get("/tasks", &tasks)
		return want(len(tasks), 0)
	})
	for _, h := range d.hosts {
		lab.WaitFor(d.b, patience, "no containers on "+h.Name(),
			func() error { return want(h.Docker("ps", "--all", "--quiet"), "") })
	}
	return last.Sub(begun)
}

// got is what the workers' mirrors have got since they run.
func (d *distributing) got() (sum api.Traffic) {
	d.b.Helper()
	for _, h := range d.workers {
		var status api.Status
		if err := json.Unmarshal([]byte(h.MustExec("crawlbox", "status", "--json")), &status); err != nil {
			d.b.Fatal(err)
		}
		sum.FromManager += status.Registry.Traffic.FromManager
		sum.FromNodes += status.Registry.Traffic.FromNodes
	}
	return sum
}

// leftManager is how many bytes have left the manager's network card.
func (d *distributing) leftManager() float64 {
	d.b.Helper()
	for line := range strings.Lines(d.manager.MustExec("cat", "/proc/net/dev")) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] != "eth0:" {
			continue
		}
		n, err := strconv.ParseFloat(f[9], 64)
		if err != nil {
			d.b.Fatal(err)
		}
		return n
	}
	d.b.Fatal("the manager has no eth0")
	return 0
}
