// Package restore does on a manager what is left to do to restore its cluster: it tells the nodes of the
// swarm before where they belong now, and brings back what that swarm had, once they are here.
//
//	tell nodes ──▶ wait for those that answer ──▶ fetch images ──▶ networks, configs, services
//
// Managers before are told until they have heard it, whenever they wake up.
package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/notices"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/notice"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/restore"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// leastWait is how long nodes have to answer at least before services are made, and mostWait how long
	// those that are known are waited for.
	leastWait = 5 * time.Second
	mostWait  = 45 * time.Second
	// young is how long all is tried again at once; managers before may be away for longer.
	young = 15 * time.Minute
	// welcomeAge is how old the welcome of a node may be that is told; see member.Restored.
	welcomeAge = 5 * time.Minute
	// together is how many nodes are told at the same time.
	together = 16
)

// Swarm holds the methods of *swarm.Engine that are needed.
type Swarm interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Remake(ctx context.Context, was fleet.Objects, queue servicespec.Queue) error
	SetLabels(ctx context.Context, id string, set map[string]string, remove []string) error
	SetAvailability(ctx context.Context, id, availability string) error
}

// Images brings an image into the cluster's registry from the mirror of a node. *image.Copier is one.
type Images interface {
	CopyKept(ctx context.Context, transport http.RoundTripper, host, pinned string, platform fleet.Platform) error
}

// Options hold what a Controller works with.
type Options struct {
	Pending *restore.Pending // nil: nothing is
	Notice  notice.Notice
	Members *member.List
	Swarm   Swarm
	Images  Images
	Queue   servicespec.Queue                               // that services are told of
	Client  func(at func(netip.AddrPort) bool) *http.Client // to nodes at addresses
	Self    netip.Addr
	Port    uint16 // between nodes
	Local   string // begins the names of images of the cluster's registry
	Log     *slog.Logger
}

// Controller is the loop. Its methods may be called at the same time.
type Controller struct {
	*controller.Loop
	Options
	client  *http.Client
	started time.Time
	heard   map[string]bool // members that have answered
	missing []string        // images that are not here yet
	looked  bool            // for images

	mu      sync.Mutex
	problem string
	rival   netip.Addr // of the manager that has restored the cluster before, if nodes know one
}

// Open returns the controller of the manager that others reach at self, with what is pending in its data
// directory. It keeps the notice for who asks. Where it can't read what is pending, it is a problem.
func Open(cfg configs.Config, a *authority.Authority, e *swarm.Engine, registry http.Handler, queue servicespec.Queue,
	self netip.Addr, log *slog.Logger) *Controller {
	pending, err := restore.Load(cfg.DataDir)
	said, noticeErr := a.Notice()
	if noticeErr == nil && said.Epoch > 0 {
		noticeErr = setup.KeepNotice(cfg, said)
	}
	c := New(Options{
		Pending: pending,
		Notice:  said,
		Members: a.Members,
		Swarm:   e,
		Images:  image.NewCopier(registry, pki.CertsDir),
		Queue:   queue,
		Client: func(at func(netip.AddrPort) bool) *http.Client {
			return agent.NewClient(at, a.Identity)
		},
		Self:  self,
		Port:  cfg.Node.Port,
		Local: fmt.Sprintf("localhost:%d/", cfg.Registry.Port),
		Log:   log,
	})
	c.say(errors.Join(err, noticeErr))
	return c
}

// New returns the controller.
func New(o Options) *Controller {
	c := &Controller{Options: o, started: time.Now(), heard: map[string]bool{}}
	c.Loop = controller.New("restore", c.round)
	c.Retry, c.RetryMost = time.Second, 2*time.Second
	if p := o.Pending; p != nil {
		p.Told(o.Self)
		known := func(a netip.Addr) bool {
			return slices.Contains(p.Before, a) ||
				slices.ContainsFunc(o.Members.All(), func(m member.Member) bool { return slices.Contains(addrs(m), a) })
		}
		c.client = o.Client(func(to netip.AddrPort) bool { return to.Port() == o.Port && known(to.Addr().Unmap()) })
	}
	return c
}

// addrs returns where a member may be.
func addrs(m member.Member) (list []netip.Addr) {
	for _, a := range []netip.Addr{m.Remote.Unmap(), m.Addr.Unmap()} {
		if a.IsValid() && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// Problem says what keeps the cluster from being restored, or nothing. It may be asked of nil.
func (c *Controller) Problem() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problem
}

// errPending ends a round after which something is left to do.
var errPending = errors.New("the restore is not over")

func (c *Controller) round(ctx context.Context) error {
	if c.Pending == nil {
		return nil
	}
	nodes, err := c.Swarm.Nodes(ctx)
	if err != nil {
		return err
	}
	c.tell(ctx)
	if err := c.outdated(); err != nil {
		c.say(err)
		return err
	}
	if !c.Pending.Made && c.gathered(nodes) {
		err = c.make(ctx, nodes)
	}
	c.settle(ctx, nodes)
	if c.Pending.Made && len(c.missing) > 0 {
		c.fetch(ctx, nodes)
	}
	c.say(err)
	if saved := c.Pending.Save(); saved != nil {
		return saved
	}
	old := time.Since(c.started) > young
	if old {
		c.RetryMost = time.Minute
	}
	if c.Pending.Made && (len(c.Pending.Before) == 0 && len(c.unbound()) == 0) && (old || len(c.missing) == 0) {
		return nil
	}
	return errPending
}

func (c *Controller) say(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.problem = ""; err != nil {
		c.problem = fmt.Sprintf("the restore is not over: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// outdated returns an error where the cluster was restored elsewhere since the backup was made that this
// manager is of.
func (c *Controller) outdated() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.rival.IsValid() {
		return nil
	}
	return fmt.Errorf("the backup is of an older epoch: the cluster was restored on %s since, and its nodes stay "+
		"there; end this one with `crawlbox leave --force`", c.rival)
}

// unbound returns the members that have no node in the swarm yet.
func (c *Controller) unbound() []member.Member { return c.Members.Unbound() }

// tell tells members that have no node in the swarm, and managers before, where they belong.
func (c *Controller) tell(ctx context.Context) {
	var mu sync.Mutex
	var all errgroup.Group
	all.SetLimit(together)
	for _, m := range c.unbound() {
		if time.Since(m.Joined) > welcomeAge {
			if _, err := c.Members.Welcome(m.ID); err != nil {
				c.Log.Debug("failed to welcome a node", "node", m.Name, "error", err)
			}
		}
		for _, addr := range addrs(m) {
			all.Go(func() error {
				if c.tellAt(ctx, addr, []string{m.ID}) {
					mu.Lock()
					defer mu.Unlock()
					c.heard[m.ID] = true
				}
				return nil
			})
		}
	}
	for _, addr := range slices.Clone(c.Pending.Before) {
		all.Go(func() error {
			if c.tellAt(ctx, addr, nil) {
				mu.Lock()
				defer mu.Unlock()
				c.Pending.Told(addr)
				c.Log.Info("a manager of before has heard that the cluster was restored", "addr", addr)
			}
			return nil
		})
	}
	_ = all.Wait()
}

// tellAt reports whether a node, with one of some IDs if there are any, has heard it.
func (c *Controller) tellAt(ctx context.Context, addr netip.Addr, ids []string) bool {
	to := agent.Target{Client: c.client, Addr: netip.AddrPortFrom(addr, c.Port), IDs: ids, Fresh: true}
	known, err := notices.Tell(ctx, to, c.Notice)
	if err != nil {
		c.Log.Debug("failed to tell a node that the cluster was restored", "addr", addr, "error", err)
		return false
	}
	if known.Epoch >= c.Notice.Epoch && len(known.Managers) > 0 && known.Managers[0] != c.Notice.Managers[0] {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.rival = known.Managers[0].Addr()
	}
	return true
}

// gathered reports whether it is time to make services: the nodes are here that come at once.
func (c *Controller) gathered(nodes []fleet.Node) bool {
	ready := 0
	for _, n := range nodes {
		if n.State == fleet.StateReady && n.Addr != c.Self.String() {
			ready++
		}
	}
	members, age := len(c.Members.All()), time.Since(c.started)
	return ready >= members || age > mostWait || age > leastWait && len(c.heard) > 0 && ready >= len(c.heard)
}

// make makes what the swarm before had, with the images that it needs first.
func (c *Controller) make(ctx context.Context, nodes []fleet.Node) error {
	if !c.looked && !c.Pending.Images {
		c.looked, c.missing = true, c.images()
	}
	c.fetch(ctx, nodes)
	if err := c.Swarm.Remake(ctx, c.Pending.Objects, c.Queue); err != nil {
		return err
	}
	c.Pending.Made = true
	c.Log.Info("the cluster is restored", "services", len(c.Pending.Objects.Services))
	return nil
}

// images returns those of the cluster's own registry that services use.
func (c *Controller) images() (list []string) {
	for _, s := range c.Pending.Objects.Services {
		var spec struct {
			TaskTemplate struct{ ContainerSpec struct{ Image string } }
		}
		_ = json.Unmarshal(s.Spec, &spec) // of another kind
		if is := spec.TaskTemplate.ContainerSpec.Image; strings.HasPrefix(is, c.Local) && strings.Contains(is, "@") &&
			!slices.Contains(list, is) {
			list = append(list, is)
		}
	}
	return list
}

// fetch brings images here from the mirrors of nodes. Of those that no node has whole, nodes may have one
// in their engine.
func (c *Controller) fetch(ctx context.Context, nodes []fleet.Node) {
	c.missing = slices.DeleteFunc(c.missing, func(pinned string) bool {
		for _, n := range nodes {
			if n.State != fleet.StateReady || n.Addr == c.Self.String() {
				continue
			}
			addr, err := netip.ParseAddr(n.Addr)
			if err != nil {
				continue
			}
			host := netip.AddrPortFrom(addr, c.Port).String()
			if err = c.Images.CopyKept(ctx, c.client.Transport, host, pinned, n.Platform()); err == nil {
				return true
			}
			c.Log.Debug("failed to fetch an image from a node", "node", n.Display, "image", pinned, "error", err)
		}
		return false
	})
}

// settle gives nodes the labels and the availability that they had.
func (c *Controller) settle(ctx context.Context, nodes []fleet.Node) {
	p := c.Pending
	p.Nodes = slices.DeleteFunc(p.Nodes, func(was backup.Node) bool {
		if len(was.Labels) == 0 && was.Availability == fleet.AvailabilityActive || time.Since(p.Begun) > 24*time.Hour {
			return true
		}
		i := slices.IndexFunc(nodes, func(n fleet.Node) bool {
			return n.Name == was.Name && n.Addr == was.Addr && n.State == fleet.StateReady
		})
		if i < 0 {
			return false
		}
		err := errors.Join(c.Swarm.SetLabels(ctx, nodes[i].ID, was.Labels, nil),
			c.Swarm.SetAvailability(ctx, nodes[i].ID, was.Availability))
		if err != nil {
			c.Log.Debug("failed to give a node its labels", "node", was.Name, "error", err)
		}
		return err == nil
	})
}
