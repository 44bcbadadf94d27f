package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

const (
	// benchRunsEnv is how many runs BenchmarkRuns begins: two processors carry some 200 containers that begin at once.
	benchRunsEnv = "CRAWLBOX_BENCH_RUNS"
	benchRuns    = 500
	// benchRunsTime is how long each lasts, for each run that is begun: none ends before the last has begun.
	benchRunsTime = 700 * time.Millisecond
	// benchRunsList is what `crawlbox runs` may take while they run.
	benchRunsList = 300 * time.Millisecond
	// benchRunsPatience bounds each of its steps.
	benchRunsPatience = 20 * time.Minute
)

// BenchmarkRuns begins many runs at once on three hosts, of which each third fails. It gives how long the manager takes
// to begin them, how long until all run, how long `crawlbox runs` takes meanwhile, and how long after the end of the
// last all have a record; then what the cluster's state and the manager's memory have grown by.
func BenchmarkRuns(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv(benchRunsEnv))
	if err != nil {
		n = benchRuns
	}
	l := newBenchLab(b)
	hosts := l.AddHosts(3)
	c := &manyRuns{observer: newObserver(b, hosts[0]), manager: hosts[0], n: n}
	c.open(hosts)
	settle(b, c.crawlbox)
	size, was := c.state(), memory(b, c.crawlbox, "status", "RssAnon")
	c.metric("MB-anon-before", was)

	begun := time.Now()
	c.begin()
	c.metric("s/asked", time.Since(begun).Seconds())
	c.await("run", runs.Running)
	c.metric("s/running", time.Since(begun).Seconds())
	calm(b)
	var lists []time.Duration
	for range 20 {
		at := time.Now()
		c.manager.MustExec("crawlbox", "runs")
		lists = append(lists, time.Since(at))
	}
	report(b, "s/list", lists)
	if took := median(lists); took > benchRunsList {
		b.Errorf("`crawlbox runs` takes %s while %d runs go on, more than %s", took, n, benchRunsList)
	}
	last := c.await("have a record", runs.Done, runs.Failed)
	c.metric("s/recorded-after-last-end", time.Since(last).Seconds())
	c.check()
	c.metric("MB-anon-after", memory(b, c.crawlbox, "status", "RssAnon"))
	c.metric("kB-of-state/run", (c.state()-size)/1000/float64(n))
	c.metric("MB-of-state", c.state()/1e6)
	b.ReportMetric(0, "ns/op")
}

// manyRuns is a cluster that has many runs.
type manyRuns struct {
	observer
	manager  *lab.Host
	crawlbox *lab.Proc
	n        int
}

func (c *manyRuns) metric(unit string, value float64) {
	c.b.Logf("%s: %.2f; load %s", unit, value, load())
	c.b.ReportMetric(value, unit)
}

// open makes the cluster, with a service of which the runs are.
func (c *manyRuns) open(hosts []*lab.Host) {
	b := c.b
	b.Helper()
	c.crawlbox = c.manager.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(b, patience, "the manager", func() error { return said(c.crawlbox, "manager is ready") })
	line := strings.Fields(c.manager.MustExec("crawlbox", "token"))
	for _, h := range hosts[1:] {
		p := h.Start("crawlbox", line...)
		lab.WaitFor(b, patience, h.Name(), func() error { return said(p, "worker is ready") })
	}
	c.manager.Load(artifact.TinyImage(b, "localhost:8003/tiny:1", 0))
	c.manager.Docker("push", "--quiet", "localhost:8003/tiny:1")
	for _, h := range hosts {
		h.Docker("pull", "--quiet", "localhost:8003/tiny:1")
	}
	c.manager.MustExec("crawlbox", "deploy", "localhost:8003/tiny:1", "--name", "spider", "--monitor", "1s")
}

func (c *manyRuns) id(i int) string { return fmt.Sprintf("run-%04d", i) }

// begin begins all runs, some at a time.
func (c *manyRuns) begin() {
	c.b.Helper()
	lasts := benchRunsTime * time.Duration(c.n)
	places := make(chan struct{}, 8)
	var all sync.WaitGroup
	for i := range c.n {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			code := "0"
			if i%3 == 0 {
				code = "3"
			}
			env := map[string]string{"TINY_LASTS": lasts.String(), "TINY_EXIT": code, "TINY_SAY": "crawlbox: items=7"}
			req := api.RunRequest{Service: "spider", Name: c.id(i), Replicas: 1, Env: env}
			if err := tryAPI(c.b.Context(), c.manager, http.MethodPost, "/v1/runs", req, nil); err != nil {
				c.b.Error(err)
			}
		})
	}
	all.Wait()
	if c.b.Failed() {
		c.b.FailNow()
	}
}

// await waits until all runs are in one of some states, and returns when the last of them ended.
func (c *manyRuns) await(what string, states ...string) (last time.Time) {
	c.b.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	lab.WaitFor(c.b, benchRunsPatience, fmt.Sprintf("%d runs that %s", c.n, what), func() error {
		<-tick.C
		count := map[string]int{}
		in := 0
		for _, r := range c.list() {
			count[r.State]++
			if r.Ended.After(last) {
				last = r.Ended
			}
		}
		for _, state := range states {
			in += count[state]
		}
		if in != c.n {
			return fmt.Errorf("they are %v", count)
		}
		return nil
	})
	return last
}

func (c *manyRuns) list() (list []runs.Record) {
	c.b.Helper()
	text := c.manager.MustExec("crawlbox", "runs", "--json", "--number", "10000")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		c.b.Fatal(err)
	}
	return list
}

// check wants one record of each run, with what became of it.
func (c *manyRuns) check() {
	c.b.Helper()
	is := map[string]runs.Record{}
	list := c.list()
	for _, r := range list {
		is[r.ID] = r
	}
	if len(list) != c.n || len(is) != c.n {
		c.b.Errorf("there are %d records of %d runs, want %d", len(list), len(is), c.n)
	}
	for i := range c.n {
		state, code := runs.Done, 0
		if i%3 == 0 {
			state, code = runs.Failed, 3
		}
		r := is[c.id(i)]
		if r.State != state || r.ExitCode != code || r.Items == nil || *r.Items != 7 || r.Attempts != 1 {
			c.b.Errorf("%s is %s with exit code %d, %s; want %s", c.id(i), r.State, r.ExitCode, r.Why, state)
		}
	}
}

// state returns the size of the cluster's state on the manager's disk, in bytes.
func (c *manyRuns) state() float64 {
	c.b.Helper()
	text := c.manager.MustExec("du", "--bytes", "--summarize", "/var/lib/crawlbox/state")
	size, err := strconv.ParseFloat(strings.Fields(text)[0], 64)
	if err != nil {
		c.b.Fatal(err)
	}
	return size
}
