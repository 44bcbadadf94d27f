package preflight

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// checkupEvery is how often a node examines itself, and checkupAgain how often while it finds
	// something bad, or is asked.
	checkupEvery = 5 * time.Minute
	checkupAgain = 30 * time.Second
	// checkupFirst is how long the first examination waits: a start has better things to do.
	checkupFirst = 20 * time.Second
	// checkupTime bounds one.
	checkupTime = time.Minute
)

// Checkup examines the node that runs here now and then, as `crawlbox doctor` does, so that what
// that would find is in the node's status too. Its methods may be called at the same time.
type Checkup struct {
	cfg        configs.Config
	role       string
	neighbours func(context.Context) []doctor.Neighbour
	answers    func(netip.Addr) bool

	kick chan struct{}

	mu   sync.Mutex
	near []doctor.Neighbour // of an examination from outside, for the next one; nil: they are asked
	at   time.Time          // of the last examination
	bad  []doctor.Finding   // that it made
}

// NewCheckup returns the checkup of a node. neighbours has it and other nodes try each other's
// ports, and answers reports whether a node at an address is up: of others nothing is said.
func NewCheckup(cfg configs.Config, role string, neighbours func(context.Context) []doctor.Neighbour,
	answers func(netip.Addr) bool) *Checkup {
	return &Checkup{
		cfg:        cfg,
		role:       role,
		neighbours: neighbours,
		answers:    answers,
		kick:       make(chan struct{}, 1),
	}
}

// Neighbours has the node and others try each other's ports. Who asks examines the node from
// outside; what is found is in Findings soon.
func (c *Checkup) Neighbours(ctx context.Context) []doctor.Neighbour {
	near := c.neighbours(ctx)
	c.mu.Lock()
	c.near = near
	c.mu.Unlock()
	c.again()
	return near
}

// Findings returns what the last examination found bad, and clocks that differ. It does not wait for another one, but
// has one made where the last is long ago.
func (c *Checkup) Findings(context.Context) []doctor.Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) > checkupAgain {
		c.again()
	}
	return c.bad
}

// Moved returns where this machine has gone, as setup.Moved does.
func (c *Checkup) Moved() *doctor.Moved { return setup.Moved(c.cfg) }

func (c *Checkup) again() {
	select {
	case c.kick <- struct{}{}:
	default: // there will be one
	}
}

// Run examines the node until ctx ends. It returns nil.
func (c *Checkup) Run(ctx context.Context) error {
	timer := time.NewTimer(checkupFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-c.kick:
		}
		next := checkupEvery
		if c.examine(ctx) {
			next = checkupAgain
		}
		timer.Reset(next)
	}
}

// examine makes an examination, and reports whether something is bad.
func (c *Checkup) examine(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, checkupTime)
	defer cancel()
	c.mu.Lock()
	near := c.near
	c.near = nil
	c.mu.Unlock()
	if near == nil {
		near = c.neighbours(ctx)
	}
	near = slices.DeleteFunc(slices.Clone(near), func(n doctor.Neighbour) bool { return !c.answers(n.Addr) })
	x := &examination{
		cfg:    c.cfg,
		role:   c.role,
		system: doctor.LocalSystem(),
		near:   near,
		runs:   true,
		inside: true,
	}
	if x.askDocker(ctx) != nil {
		return false // it ends
	}
	x.findAddr()
	isBad := func(f doctor.Finding) bool { return f.Level == doctor.Bad }
	bad := slices.DeleteFunc(x.findings(ctx), func(f doctor.Finding) bool { return !isBad(f) && f.Skew == 0 })
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() == nil {
		c.bad, c.at = bad, time.Now()
	}
	return slices.ContainsFunc(c.bad, isBad)
}
