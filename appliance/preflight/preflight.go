// Package preflight examines a machine as `crawlbox doctor` shows it: as the node that it
// is, or as one that it should become. It gathers what the doctor's checks are told of the
// machine, its Docker Engine, its neighbours and the cluster, and changes nothing.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// examination holds what is found out about a machine on the way.
type examination struct {
	cfg     configs.Config
	role    string
	system  doctor.System
	info    swarm.Info
	docker  error
	near    []doctor.Neighbour // of the node that runs here
	nearErr error
	runs    bool
	inside  bool // the node that runs here examines itself
	queueAt QueueAt
	joins   bool // by a join token
	token   token.JoinToken
	findErr error // why there is no address
	addr    netip.Addr
	card    doctor.Card
}

// Examine looks at this machine as a node with a role, or as one that is to become
// it by a join token, and changes nothing. It takes a few seconds.
func Examine(
	ctx context.Context, cfg configs.Config, role, joinToken string, queue QueueAt,
) (doctor.Report, error) {
	x := &examination{
		cfg: cfg, role: role, system: doctor.LocalSystem(), joins: joinToken != "", queueAt: queue,
	}
	if x.joins {
		var err error
		if x.token, err = token.Parse(joinToken); err != nil {
			return doctor.Report{}, err
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return doctor.Report{}, fmt.Errorf("find this machine's host name: %w", err)
	}
	if err := x.askDocker(ctx); err != nil {
		return doctor.Report{}, err
	}
	x.near, x.nearErr = api.NewClient(x.cfg.Socket).Neighbours(ctx)
	x.runs = !errors.Is(x.nearErr, api.ErrNotRunning)
	x.findAddr()
	return doctor.NewReport(name, role, x.findings(ctx)), nil
}

func (x *examination) askDocker(ctx context.Context) error {
	engine, err := swarm.Open(x.cfg.Docker.Host)
	if err != nil {
		return err
	}
	defer engine.Close()
	x.info, x.docker = engine.Info(ctx)
	return ctx.Err()
}

func (x *examination) findings(ctx context.Context) []doctor.Finding {
	first := x.role == fleet.RoleManager && !x.joins && setup.StateOf(x.cfg) != setup.Joined
	needs := Needs(x.cfg, x.role, first)
	var list []doctor.Finding
	if err := doctor.Root(); err != nil {
		list = append(list, doctor.Failed("root", doctor.Bad, err))
	}
	if err := x.unread(); err != nil {
		list = append(list, doctor.Failed("identity", doctor.Bad, err))
	}
	dirs := []string{existing(x.cfg.DataDir)}
	switch {
	case x.docker != nil && x.inside: // which it says already
	case x.docker != nil:
		list = append(list, doctor.Failed("docker", doctor.Bad, x.docker))
	default:
		list = append(list, setup.EngineOf(x.info).Findings()...)
		list = append(list, x.swarm())
		if setup.StateOf(x.cfg) == setup.Joined && !x.cfg.AdvertiseAddr.IsValid() {
			list = append(list, doctor.SwarmAddr(x.info.NodeAddr)...)
		}
		dirs = append(dirs, x.info.Root, x.info.Images)
	}
	list = slices.Concat(list, x.system.Kernel(), x.system.Limits(), x.system.Room(dirs...))
	if x.findErr != nil {
		list = append(list, doctor.Failed(doctor.CheckAddress, doctor.Bad, x.findErr))
	} else {
		list = append(list, doctor.Address(x.addr, x.card, x.seenAddrs(), setup.Moved(x.cfg))...)
	}
	list = slices.Concat(list, x.system.MTU(x.card, x.peerMTUs()), x.system.Names(ctx, x.role == fleet.RoleManager))
	skews, reached := x.checkPeers(ctx, needs)
	list = append(list, x.system.Clock(skews)...)
	// It is none of this machine's where that has lost its address and has no other. From inside,
	// Docker must not find its ports taken while it starts.
	bind := doctor.BindAddr(x.addr)
	if x.findErr == nil && doctor.IsLocal(bind) && !x.inside {
		list = append(list, doctor.PortsHere(needs, bind, x.runs, x.info.State == swarm.StateActive)...)
	}
	list = append(list, x.queueHere(ctx)...)
	list = append(list, x.system.Firewall(ctx, needs, x.card, x.peers())...)
	return append(list, reached...)
}

// unread returns why what this machine knows of itself as a node can't be read, nil where it can
// or is none.
func (x *examination) unread() (err error) {
	switch setup.StateOf(x.cfg) {
	case setup.Created:
		_, err = setup.LoadRecord(x.record())
	case setup.Joined:
		_, err = setup.JoinedAs(x.cfg)
	}
	return err
}

// swarm returns what a start would say of the swarm that Docker is in.
func (x *examination) swarm() doctor.Finding {
	var err error
	switch {
	case setup.StateOf(x.cfg) == setup.Joined && x.info.State == swarm.StateInactive:
		err = setup.ErrSwarmLeft
	case setup.StateOf(x.cfg) == setup.Joined:
	case x.joins:
		err = setup.CheckOtherSwarm(x.info, x.token.Managers)
	case x.role == fleet.RoleWorker && x.info.State == swarm.StateActive:
		err = fmt.Errorf("this machine is in a swarm that is not crawlbox's, with the managers %v; leave that first "+
			"with `docker swarm leave`", x.info.Managers)
	case x.role == fleet.RoleManager:
		r, loadErr := setup.LoadRecord(x.record())
		if err = loadErr; err == nil {
			_, err = setup.ClassifySwarm(x.info, *r, false)
		}
	}
	if err != nil {
		return doctor.Failed("swarm", doctor.Bad, err)
	}
	text := "in none"
	if x.info.State != swarm.StateInactive {
		text = x.info.State + ", as a worker"
	}
	if x.info.Manager {
		text = x.info.State + ", as a manager"
	}
	return doctor.Finding{Check: "swarm", Level: doctor.OK, Text: text}
}

// findAddr finds the address that this machine has, or would have, as a node.
func (x *examination) findAddr() {
	id, idErr := pki.LoadIdentity(setup.NodeDir(x.cfg))
	r, recordErr := setup.LoadRecord(x.record())
	switch {
	case recordErr == nil && r.Addr.IsValid():
		x.addr = r.Addr
	case idErr == nil:
		x.addr = id.Self.Addr
	default:
		x.addr, x.findErr = setup.JoinAddr(x.cfg.AdvertiseAddr, x.token.Managers)
	}
	x.card = doctor.CardAt(x.addr, doctor.Cards())
}

// checkPeers finds out how other nodes are reached, and their clocks.
func (x *examination) checkPeers(
	ctx context.Context, needs []doctor.Need,
) (skews []doctor.Skew, list []doctor.Finding) {
	for _, n := range x.near {
		if n.Error == "" {
			skews = append(skews, doctor.Skew{Node: n.Name, By: n.Skew})
		}
	}
	switch {
	case x.runs && x.nearErr != nil:
		return nil, []doctor.Finding{doctor.Failed("ports there", doctor.Warn,
			fmt.Errorf("the crawlbox that runs here can't say: %w", x.nearErr))}
	case x.runs && len(x.near) > 0:
		return skews, doctor.Reach(x.near, needs, x.addr)
	case x.runs:
		return nil, []doctor.Finding{
			{Check: "ports there", Level: doctor.OK, Text: "there is no other node that could try"},
		}
	case len(x.token.Managers) > 0:
		return x.managers(ctx)
	}
	return nil, []doctor.Finding{
		{
			Check: "ports there",
			Level: doctor.OK,
			Text:  "not tried: no crawlbox runs here, and no --join TOKEN says where the manager is",
		},
	}
}

// managers looks at those of a join token.
func (x *examination) managers(ctx context.Context) (skews []doctor.Skew, list []doctor.Finding) {
	for _, addr := range x.token.Managers {
		n := doctor.Neighbour{Name: addr.Addr().String(), Role: fleet.RoleManager, Addr: addr.Addr()}
		n.There = doctor.Dial(ctx, addr.Addr(), []uint16{addr.Port(), swarm.Port})
		if first := &n.There[0]; first.Error == "" {
			skew, err := enroll.Probe(ctx, addr, x.token.CA)
			if err != nil {
				first.Error = err.Error()
			} else {
				skews = append(skews, doctor.Skew{Node: n.Name, By: skew})
			}
		}
		list = append(list, doctor.Reach([]doctor.Neighbour{n}, nil, x.addr)...)
	}
	return skews, list
}

func (x *examination) record() string { return filepath.Join(x.cfg.DataDir, setup.RecordFile) }

func (x *examination) seenAddrs() (list []doctor.SeenAddr) {
	for _, n := range x.near {
		if n.Seen.IsValid() {
			list = append(list, doctor.SeenAddr{Node: n.Name, At: n.Seen})
		}
	}
	return list
}

func (x *examination) peerMTUs() (list []doctor.PeerMTU) {
	for _, n := range x.near {
		list = append(list, doctor.PeerMTU{Node: n.Name, MTU: n.MTU})
	}
	return list
}

// peers returns the addresses of other nodes, as far as they are known here.
func (x *examination) peers() (list []netip.Addr) {
	for _, n := range x.near {
		list = append(list, n.Addr)
	}
	for _, m := range x.token.Managers {
		list = append(list, m.Addr())
	}
	return slices.DeleteFunc(list, func(a netip.Addr) bool { return a == x.addr })
}

// existing returns the directory or, where it is still to be made, the one that it comes into.
func existing(dir string) string {
	for dir != "/" && dir != "." {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// Needs returns the ports of a node with a role. Managers have the registry, and the first one of a
// cluster has the queue.
func Needs(cfg configs.Config, role string, first bool) []doctor.Need {
	p := doctor.Ports{Node: cfg.Node.Port, Gossip: cfg.Gossip.Port}
	if role == fleet.RoleManager {
		p.Registry = cfg.Registry.Port
	}
	if first && cfg.Queue != nil {
		p.Queue = cfg.Queue.Port
	}
	return doctor.Needs(p, role == fleet.RoleManager)
}

// Ports returns those that other nodes can try of a node with a role; see Needs.
func Ports(cfg configs.Config) func(role string, first bool) []uint16 {
	return func(role string, first bool) []uint16 { return doctor.TryablePorts(Needs(cfg, role, first)) }
}
