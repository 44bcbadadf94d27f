package e2e

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestQueueTakeover switches the machine of three managers off that has the queue, while every other node writes:
// another one goes on with what was copied, and says what is lost. The machine before stands down when it is back,
// and serves nobody until then.
func TestQueueTakeover(t *testing.T) {
	t.Parallel()
	c := newTakeover(t)
	// Swarm elects no leader meanwhile: another machine is it.
	first := c.manager
	first.StopDocker()
	leader := c.leaderOf(c.hosts[1:])
	first.StartDocker()
	c.awaitReady(4)
	if now := c.leaderOf(c.hosts); now == first {
		t.Fatal("Swarm has chosen that machine again")
	}
	t.Logf("%s leads", leader.Name())
	home := c.takeover(30 * time.Second)

	// Its machine is switched off as it should be: nothing is lost.
	writers := c.pushers(c.hosts[1:2])
	c.stop(home)
	home.PowerOff()
	off := time.Now()
	writers[0].await(c, off.Add(5*time.Second))
	writers[0].judge(c, off, 60*time.Second, 0)
	c.taken(home)
	c.back(home)
}

// TestQueueTakeover_Leader does the same with a machine that is Swarm's leader too, which Swarm takes its time to
// replace.
func TestQueueTakeover_Leader(t *testing.T) {
	t.Parallel()
	c := newTakeover(t)
	if c.leaderOf(c.hosts) != c.manager {
		t.Fatal("another machine leads")
	}
	c.takeover(60 * time.Second)
}

// TestQueueTakeover_CutOff cuts the home off instead, whose own programs write too: what it takes ends before the other
// home takes anything, and it stands down once its cable is whole.
func TestQueueTakeover_CutOff(t *testing.T) {
	t.Parallel()
	c := newTakeover(t)
	first := c.manager
	writers := c.pushers(c.hosts)
	first.Cut()
	off := time.Now()
	own, others := writers[0], writers[1:]
	for _, w := range others {
		w.await(c, off.Add(5*time.Second))
	}
	last := own.acked(time.Now())
	t.Logf("the home that is cut off takes items for %s", last.Sub(off))
	for _, w := range others {
		at := w.acked(off.Add(5 * time.Second))
		t.Logf("%s goes on %s later", w.key, at.Sub(last))
		if !at.After(last) {
			t.Errorf("%s writes to the other home %s before that", w.key, last.Sub(at))
		}
	}
	for _, w := range others {
		w.judge(c, off, 60*time.Second, 10*time.Second)
	}
	contains(t, first.MustExec("crawlbox", "status"), "most of the managers do not say that this one is its home")
	if again := own.acked(time.Now()); again != last {
		t.Errorf("it takes an item %s later", again.Sub(last))
	}
	own.cancel()
	<-own.ended
	c.taken(first)
	first.Heal()
	c.whole()
	first.MustExec("test", "-e", "/var/lib/crawlbox/queue.moved")
}

// newTakeover starts three managers and a worker.
func newTakeover(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t, "queue:\n  password: hush\n", 1)
	for range 2 {
		h := c.lab.AddHost()
		c.hosts = append(c.hosts, h)
		c.agents[h] = h.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
		c.awaitAgent(h)
	}
	c.awaitReady(4)
	return c
}

// takeover loses the first of the managers, and wants every other node to write again within a time. It returns the
// manager that has the queue then.
func (c *cluster) takeover(within time.Duration) (next *lab.Host) {
	c.Helper()
	first := c.hosts[0]
	writers := c.pushers(c.hosts[1:])
	first.PowerOff()
	off := time.Now()
	for _, w := range writers {
		w.await(c, off.Add(5*time.Second))
	}
	for _, w := range writers {
		w.judge(c, off, within, 10*time.Second)
	}
	c.taken(first)
	c.back(first)
	first.MustExec("test", "-e", "/var/lib/crawlbox/queue.moved")
	return c.manager
}

// pushers pushes on some hosts to the queue at loopback, for a while, until managers have copies of that.
func (c *cluster) pushers(hosts []*lab.Host) (writers []*pusher) {
	c.Helper()
	for _, h := range hosts {
		w := c.pushTo("127.0.0.1:7891", h)
		w.await(c, time.Now())
		writers = append(writers, w)
	}
	for _, h := range c.managers() {
		if h != c.manager {
			lab.WaitFor(c, patience, "a copy of the queue on "+h.Name(), func() error {
				return h.Exec(c.Context(), "grep", "-rq", writers[0].key, "/var/lib/crawlbox/queue.copy").Err()
			})
		}
	}
	time.Sleep(3 * time.Second) // of pushing
	return writers
}

// managers are all hosts but the worker.
func (c *cluster) managers() []*lab.Host { return append(slices.Clone(c.hosts[:1]), c.hosts[2:]...) }

// taken wants another manager to have the queue of one that is lost, and to say so. It is c.manager then.
func (c *cluster) taken(lost *lab.Host) {
	c.Helper()
	lab.WaitFor(c, patience, "one of the managers to say that the queue is there", func() error {
		said := ""
		for _, h := range c.managers() {
			if h == lost {
				continue
			}
			r := h.Exec(c.Context(), "crawlbox", "status")
			if strings.Contains(r.Stdout, "the queue is here since") {
				c.manager = h
				return nil
			}
			said += h.Name() + ": " + r.Stdout + r.Stderr
		}
		return errors.New(said)
	})
	said := c.run("status")
	contains(c.T, said, "the queue is here since", lost.Name()+", which had it and is gone, was last heard")
	c.Logf("%s", said[strings.Index(said, "the queue is here since"):])
	var addr api.QueueAddress
	c.read(&addr, "queue", "url")
	contains(c.T, addr.URL, c.manager.IP().String())
	c.run("queue", "push", "new", "item")
}

// back has a manager that was lost come back, as one that has the queue no longer.
func (c *cluster) back(lost *lab.Host) {
	c.Helper()
	lost.PowerOn()
	c.agents[lost] = lost.Start("crawlbox", "crawlbox", "manager")
	c.awaitAgent(lost)
	c.whole()
}

// whole wants all managers to reach the queue, which one of them has.
func (c *cluster) whole() {
	c.Helper()
	items := c.run("queue", "len", "new")
	for _, h := range c.managers() {
		lab.WaitFor(c, patience, "the queue to be reached by "+h.Name(), func() error {
			r := h.Exec(c.Context(), "crawlbox", "queue", "len", "new")
			return want(strings.TrimSpace(r.Stdout), strings.TrimSpace(items))
		})
	}
	lab.WaitFor(c, patience, "one home on the list", func() error {
		return want(strings.Count(c.run("state", "show", "replicas"), `"queue": true`), 1)
	})
	c.awaitState(c.managers()...)
}
