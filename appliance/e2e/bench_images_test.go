package e2e

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// imageSize is that of the images of lab.Versions, in bytes.
const imageSize = 42e6

// BenchmarkImages brings an image of 42 MB in four layers of noise, which no host
// has anything of, to all hosts, until Swarm runs a task on each. Each round goes
// three ways, with the images removed from the engines in between:
//
//	crawlbox  localhost:8003/IMAGE, from nothing
//	floor     the same once more: each host has all on loopback, and what is left
//	          is Docker's own work on the processors of this machine
//	star      MASTER:8003/IMAGE: every host pulls from the manager
//
// MB-sent is what left the manager's network card, and copies the same in images.
func BenchmarkImages(b *testing.B) {
	for _, c := range []struct {
		hosts, rounds int
		rate          string
		bits          float64
	}{{20, 2, "100mbit", 100e6}, {20, 1, "20mbit", 20e6}, {50, 1, "100mbit", 100e6}} {
		b.Run(fmt.Sprintf("%d-hosts-%s", c.hosts, c.rate), func(b *testing.B) {
			l := newBenchLab(b)
			hosts := make([]*lab.Host, c.hosts)
			for i := range hosts {
				hosts[i] = l.AddHost(lab.Rate(c.rate))
			}
			d := &distributing{observer: newObserver(b, hosts[0]), hosts: hosts, manager: hosts[0]}
			d.begin(c.rounds)
			var took [3][]time.Duration
			var sent [3]float64
			for round := range c.rounds {
				for way, from := range []string{"localhost", "localhost", d.manager.IP().String()} {
					before := d.sent()
					t := d.round(fmt.Sprintf("%s:8003/spider:%d", from, round+1))
					sent[way] = max(sent[way], d.sent()-before)
					took[way] = append(took[way], t)
					b.Logf("%s: %v, %.0f MB left the manager; load %s", []string{"crawlbox", "floor", "star"}[way], t, (d.sent()-before)/1e6, load())
				}
			}
			for way, unit := range []string{"s/crawlbox", "s/floor", "s/star"} {
				report(b, unit, took[way])
			}
			b.ReportMetric(sent[0]/imageSize, "copies-sent")
			b.ReportMetric(sent[2]/imageSize, "copies-sent-star")
			one := imageSize * 8 / c.bits
			b.ReportMetric(one, "s/one-copy")
			b.ReportMetric((median(took[0])-median(took[1])).Seconds()/one, "copies-above-floor")
		})
	}
}

// distributing is a cluster to whose hosts an image is brought.
type distributing struct {
	observer
	hosts   []*lab.Host
	manager *lab.Host
}

func (d *distributing) begin(images int) {
	d.b.Helper()
	p := d.manager.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(d.b, patience, "the manager", func() error { return said(p, "manager is ready") })
	for i := range images {
		ref := fmt.Sprintf("localhost:8003/spider:%d", i+1)
		d.manager.Load(lab.Versions(d.b, ref)[0])
		d.manager.Docker("push", "--quiet", ref)
	}
	line := strings.Fields(d.manager.MustExec("crawlbox", "token"))
	for _, h := range d.hosts[1:] {
		h.Start("crawlbox", line...)
	}
	lab.WaitFor(d.b, scalePatience, "all nodes", func() error { return want(len(d.ready()), len(d.hosts)) })
	d.onAll(d.hosts, "docker", "image", "prune", "--all", "--force")
}

// round creates a service with a task on each host, and returns after what time
// the last of them ran, by Swarm's stamps. Nothing of it is left.
func (d *distributing) round(image string) time.Duration {
	d.b.Helper()
	calm(d.b)
	begun := time.Now()
	d.manager.Docker("service", "create", "--detach", "--name", "s", "--mode", "global", "--network", "host",
		"--stop-grace-period", "1s", image)
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
		last = slices.MaxFunc(running, func(a, b task) int { return a.Status.Timestamp.Compare(b.Status.Timestamp) }).Status.Timestamp
		return nil
	})
	d.manager.Docker("service", "rm", "s")
	lab.WaitFor(d.b, patience, "no tasks", func() error {
		var tasks []task
		d.get("/tasks", &tasks)
		return want(len(tasks), 0)
	})
	for _, h := range d.hosts {
		lab.WaitFor(d.b, patience, "no containers on "+h.Name(), func() error { return want(h.Docker("ps", "--all", "--quiet"), "") })
	}
	d.onAll(d.hosts, "docker", "image", "prune", "--all", "--force")
	return last.Sub(begun)
}

// sent is how many bytes have left the manager's network card.
func (d *distributing) sent() float64 {
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
