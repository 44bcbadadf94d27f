package e2e

import (
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestExchange has what goes wrong on real networks go wrong while an image of
// 42 MB is brought to workers with cards of 50 Mbit/s. Every pull ends well.
func TestExchange(t *testing.T) {
	t.Parallel()
	c := newExchange(t)
	first, second, third := c.hosts[1], c.hosts[2], c.hosts[3]

	t.Run("the manager dies once the workers together have all", func(t *testing.T) {
		c := c.sub(t)
		image := c.pushNoise("dies")
		pulls := image.pullOn(first, second, third)
		each := image.await(pulls.hosts, len(image.starts))
		c.agents[c.manager].Kill()
		t.Logf("of %d pieces the workers had %v", len(image.starts), each)
		pulls.wantUnderWay("when the manager died")
		pulls.endWell()

		// One that has nothing of it gets it from the others alone.
		late := c.hosts[4]
		if has := image.on(late); len(has) != 0 {
			t.Fatalf("%s has %d pieces already", late.Name(), len(has))
		}
		image.pullOn(late).endWell()
		c.startManager()
		c.awaitReady(len(c.hosts))
	})
	t.Run("a host joins", func(t *testing.T) {
		c := c.sub(t)
		joins := c.lab.AddHost(lab.Rate(exchangeRate))
		image := c.pushNoise("joins")
		pulls := image.pullOn(first, second, third)
		image.await(pulls.hosts, 3)
		c.join(joins)
		pulls.wantUnderWay("when the host had joined")
		late := image.pullOn(joins)
		pulls.endWell()
		late.endWell()
	})
	t.Run("a disk fills up", func(t *testing.T) {
		c := c.sub(t)
		small := c.lab.AddHost(lab.Rate(exchangeRate), lab.StateLimit("330m"))
		c.join(small)
		image := c.pushNoise("fills")
		pulls := image.pullOn(small, first)
		image.await(pulls.hosts[:1], 3)
		empty := image.fill(stateOf(small) + "/filler")
		pulls.wantUnderWay("when the disk was full")
		pulls.endWell()
		contains(t, c.agents[small].Logs(), "mirror failed to keep a blob")
		small.Docker("image", "rm", image.ref)
		image.pullOn(small).endWell() // the disk is full from the start
		empty()
		small.MustExec("crawlbox", "status")
	})
	t.Run("a cable is cut and heals", func(t *testing.T) {
		c := c.sub(t)
		image := c.pushNoise("heals")
		pulls := image.pullOn(first, second, third)
		image.await(pulls.hosts[:1], 3)
		first.Cut()
		c.awaitGossip(first, "its silence", func(a fleet.Agent) bool { return a.State != "alive" })
		pulls.wantUnderWay("while the cable was cut")
		first.Heal()
		pulls.endWell()
	})
}

const exchangeRate = "50mbit"

// newExchange is a manager with four workers.
func newExchange(t *testing.T) *cluster {
	l := newLab(t)
	l.Install(artifact.Binary(t))
	c := &cluster{T: t, lab: l, hosts: l.AddHosts(5, lab.Rate(exchangeRate)), agents: map[*lab.Host]*lab.Proc{}}
	c.manager = c.hosts[0]
	c.startManager()
	for _, h := range c.hosts[1:] {
		c.join(h)
	}
	c.awaitReady(len(c.hosts))
	return c
}
