package e2e

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

//go:embed testdata/flood.py
var floodScript string

const (
	// floodSlots is how many connections are wanted of each port.
	floodSlots = 10_000
	// floodHosts share them, with floodAddrs addresses each: so many that their
	// shares together are more than a port has places for strangers.
	floodHosts = 3
	floodAddrs = 8
	// strangersOfPort is the default of guard.Limits, for each of the two ports.
	strangersOfPort = 1024
	// spareFiles is what a manager needs beside for its nodes: joins, pulls, Docker.
	spareFiles = 128
	// memoryOfStranger is what one connection may cost, in KiB: its goroutine, TLS
	// and the buffers of HTTP.
	memoryOfStranger = 64
	// spareMemory is for what a manager does meanwhile, and for what the collector
	// has not collected yet, in KiB.
	spareMemory = 128 << 10
)

// TestFlood has strangers take all they can get of a manager's ports on the
// network: 10,000 connections of each that say nothing, or next to nothing. The
// manager goes on letting nodes in and serving them, and stays within bounds.
func TestFlood(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	worker, fresh := c.hosts[1], c.lab.AddHost()
	c.manager.Load(artifact.TinyImage(t, "localhost:8003/new:1", 1<<20))
	idle := c.use(c.manager)
	peak := c.watchUse(c.manager)
	f := c.flood()
	f.await(c)

	begun := time.Now()
	c.manager.Docker("push", "--quiet", "localhost:8003/new:1")
	pushed := time.Since(begun)
	begun = time.Now()
	c.join(fresh)
	c.hosts = append(c.hosts, fresh)
	c.awaitReady(3)
	joined := time.Since(begun)
	begun = time.Now()
	for _, h := range []*lab.Host{worker, fresh} {
		c.pull(h, "localhost:8003/new:1")
		h.Docker("image", "rm", "--force", "localhost:8003/new:1")
		c.pull(h, addrOf(c.manager, 8003)+"/new:1")
	}
	pulled := time.Since(begun)
	c.awaitReady(3)
	c.awaitAgents("alive")
	t.Logf("push %s, join %s, 4 pulls %s", pushed.Round(time.Millisecond), joined.Round(time.Millisecond),
		pulled.Round(time.Millisecond))

	lab.WaitFor(c, patience, "the flood to be one still", func() error { // beside others it has its pauses
		if last := f.look(c); slices.Min(last.Open[:]) < strangersOfPort/8 || last.all() < strangersOfPort {
			return fmt.Errorf("it is %+v", last)
		}
		return nil
	})
	most := peak()
	t.Logf("idle %+v, most %+v; the flood: %+v", idle, most, f.look(c))
	if limit := idle.files + 2*strangersOfPort + spareFiles; most.files > limit {
		t.Errorf("the manager had %d files open, want at most %d", most.files, limit)
	}
	if limit := idle.memory + 2*strangersOfPort*memoryOfStranger + spareMemory; most.memory > limit {
		t.Errorf("the manager took %d KiB, want at most %d", most.memory, limit)
	}
}

// use is what a crawlbox takes of its machine.
type use struct {
	files  int
	memory int // KiB, the most so far
}

func (c *cluster) use(h *lab.Host) use {
	c.Helper()
	u, err := useOf(c.agents[h].PID())
	if err != nil {
		c.Fatal(err)
	}
	return u
}

func useOf(pid int) (u use, err error) {
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return u, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
	return use{len(files), kib}, err
}

// watchUse looks at a crawlbox all the time, until it is asked for the most that
// it saw.
func (c *cluster) watchUse(h *lab.Host) (peak func() use) {
	pid, stop, most := c.agents[h].PID(), make(chan struct{}), make(chan use, 1)
	go func() {
		var m use
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			u, err := useOf(pid)
			if err == nil {
				m = use{max(m.files, u.files), max(m.memory, u.memory)}
			}
			select {
			case <-stop:
				most <- m
				return
			case <-tick.C:
			}
		}
	}()
	return func() use { close(stop); return <-most }
}

// flood is the strangers.
type flood struct{ procs []*lab.Proc }

// flooding is what all of them say.
type flooding struct {
	Slots, Been  int    // connections that are wanted, and how many of them were made at least once
	Open, Opened [3]int // now, and so far, of each kind
}

func (f flooding) all() int { return f.Open[0] + f.Open[1] + f.Open[2] }

func (c *cluster) flood() *flood {
	c.Helper()
	hosts := c.lab.AddHosts(floodHosts, lab.WithoutDocker())
	f := &flood{}
	for i, h := range hosts {
		sources := []string{h.IP().String()}
		for j := 1; j < floodAddrs; j++ {
			addr := fmt.Sprintf("10.99.%d.%d", 200+i, j)
			h.MustExec("ip", "address", "add", addr+"/16", "dev", "eth0")
			sources = append(sources, addr)
		}
		f.procs = append(f.procs, h.Start("flood", "nice", "-n", "19", "python3", "-c", floodScript,
			c.manager.IP().String(), "7980,8003", strconv.Itoa((floodSlots+floodHosts-1)/floodHosts),
			strings.Join(sources, ",")))
	}
	return f
}

// await waits until each connection that is wanted was made once.
func (f *flood) await(c *cluster) {
	c.Helper()
	lab.WaitFor(c, patience, "a flood", func() error {
		if v := f.look(c); v.Slots < 2*floodSlots || v.Been < v.Slots {
			return fmt.Errorf("it is %+v", v)
		}
		return nil
	})
}

// look sums up what the strangers said last.
func (f *flood) look(c *cluster) (sum flooding) {
	c.Helper()
	for _, p := range f.procs {
		select {
		case <-p.Done():
			c.Fatalf("a flood has ended:\n%s", p.Logs())
		default:
		}
		lines := strings.Split(p.Logs(), "\n")
		var v flooding
		if len(lines) < 2 || json.Unmarshal([]byte(lines[len(lines)-2]), &v) != nil {
			continue // it has not said anything yet
		}
		sum.Slots += v.Slots
		sum.Been += v.Been
		for i := range v.Open {
			sum.Open[i] += v.Open[i]
			sum.Opened[i] += v.Opened[i]
		}
	}
	return sum
}
