package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
)

const frontCommands = 20_000

// BenchmarkQueueFronts has one client on a worker do one small command after another, at the queue's own address and by
// the worker's front in turns, and gives the median of each. Then 500 clients that have done one command stay connected
// to the front, and 5,000 to the queue itself: it gives the memory that either process has asked for, before and with
// them, and what the one client's commands take there meanwhile.
func BenchmarkQueueFronts(b *testing.B) {
	l := newBenchLab(b)
	hosts := l.AddHosts(2)
	manager, worker := hosts[0], hosts[1]
	manager.WriteFile("/etc/crawlbox/crawlbox.yaml", queueConfig)
	agent := manager.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(b, patience, "the manager", func() error { return said(agent, "manager is ready") })
	there := worker.Start("crawlbox", strings.Fields(manager.MustExec("crawlbox", "token"))...)
	lab.WaitFor(b, patience, "the worker's front", func() error { return said(there, "this node has the queue") })

	dial := func(addr string, pool int) *redis.Client {
		c := redis.NewClient(&redis.Options{
			Addr: addr, Password: password, Dialer: worker.DialContext, DisableIdentity: true, PoolSize: pool,
		})
		b.Cleanup(func() { c.Close() })
		return c
	}
	ways := map[string]*redis.Client{"direct": dial(manager.At(7891), 1), "front": dial("127.0.0.1:7891", 1)}
	took := map[string][]time.Duration{}
	for range frontCommands / 100 {
		for name, c := range ways {
			took[name] = append(took[name], popNothing(b, c, 100)...)
		}
	}
	for name, all := range took {
		microseconds(b, name, all)
	}
	for _, tc := range []struct {
		name, addr string
		agent      *lab.Proc
		clients    int
	}{{"front", "127.0.0.1:7891", there, 500}, {"direct", manager.At(7891), agent, 5000}} {
		process := childOf(b, tc.agent.PID())
		b.ReportMetric(anonymous(b, process), "MB-anon/"+tc.name)
		var idle []*redis.Client
		for range tc.clients {
			c := dial(tc.addr, 1)
			popNothing(b, c, 1)
			idle = append(idle, c)
		}
		with := fmt.Sprintf("%s+%d-idle", tc.name, tc.clients)
		b.ReportMetric(anonymous(b, process), "MB-anon/"+with)
		microseconds(b, with, popNothing(b, ways[tc.name], frontCommands/4))
		for _, c := range idle {
			c.Close()
		}
	}
	b.ReportMetric(0, "ns/op")
}

// popNothing pops of an empty list so often, and returns what each took.
func popNothing(b *testing.B, c *redis.Client, times int) (took []time.Duration) {
	b.Helper()
	for range times {
		begun := time.Now()
		if err := c.LPop(context.Background(), "none").Err(); !errors.Is(err, redis.Nil) {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	return took
}

// microseconds reports median and worst hundredth.
func microseconds(b *testing.B, name string, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "µs-p50/"+name)
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "µs-p99/"+name)
}

// childOf returns the process that another has started, the queue's.
func childOf(b *testing.B, parent int) int {
	b.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range all {
		text, _ := os.ReadFile(path)
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if strings.Contains(string(line), queueproc.Command) {
				return pid
			}
		}
	}
	b.Fatal("the worker's crawlbox has no process of the queue")
	return 0
}

// anonymous returns the memory that a process has asked for, in MB.
func anonymous(b *testing.B, pid int) float64 {
	b.Helper()
	mb, err := memoryOf(pid, "status", "RssAnon")
	if err != nil {
		b.Fatal(err)
	}
	return mb
}
