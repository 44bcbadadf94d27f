package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/home/standby"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// swarmTimeout bounds how long the swarm has to say who its nodes are: one that elects a leader has none.
const swarmTimeout = 8 * time.Second

// Look returns the situation of this machine, which has a name. It changes nothing. advertise is the
// address that it is to have, not valid where that is to be found.
func Look(ctx context.Context, cfg configs.Config, e *swarm.Engine, name string, advertise netip.Addr) (Situation,
	error) {
	s := Situation{Name: name}
	if replaced := setup.Replaced(cfg); replaced != nil {
		return s, replaced
	}
	view, err := state.Look(state.Dir(cfg.DataDir))
	if errors.Is(err, state.ErrNotFound) {
		return s, errors.New("this machine has none of the cluster's state: run `crawlbox recover` on a manager that " +
			"has; where none is left, restore the cluster on a bare server with `crawlbox install manager --restore`")
	}
	if err != nil {
		return s, err
	}
	s.Epoch, s.Time = view.Commit.Epoch, view.Commit.Time
	if s.Swarm, err = e.Info(ctx); err != nil {
		return s, fmt.Errorf("%w; start Docker first", err)
	}
	own := known(cfg)
	s.Moved = setup.Moved(cfg)
	s.Addr, s.AddrErr = address(cfg, own, s.Moved, advertise)
	if s.Swarm.State == swarm.StateActive && s.Swarm.Manager {
		s.Nodes = nodes(ctx, e)
	}
	list, err := replicas(view)
	if err != nil {
		return s, err
	}
	s.Home, s.Queue, s.On = homeOf(list), queueAt(view), cfg.Queue != nil
	if s.Copy, err = standby.Have(cfg.DataDir); err != nil {
		return s, err
	}
	s.Others = others(s.Swarm.NodeID, own, list, s.Nodes, s.Swarm)
	s.answers(ctx, cfg.Node.Port)
	return s, nil
}

// homeOf returns the manager with the queue.
func homeOf(list []replica.Replica) string {
	for _, r := range list {
		if r.Queue {
			return r.Name
		}
	}
	return ""
}

// queueAt returns where services reach the queue.
func queueAt(view *state.View) netip.Addr {
	var reached struct {
		URL string `json:"url"`
	}
	data, err := view.Document(state.Queue)
	if err != nil || json.Unmarshal(data, &reached) != nil {
		return netip.Addr{}
	}
	at, err := url.Parse(reached.URL)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(at.Hostname())
	return addr.Unmap()
}

// known returns the address that others know this machine at.
func known(cfg configs.Config) netip.Addr {
	if r, err := setup.LoadRecord(setup.RecordPath(cfg)); err == nil && r.Addr.IsValid() {
		return r.Addr.Unmap()
	}
	if id, err := setup.JoinedAs(cfg); err == nil {
		return id.Self.Addr.Unmap()
	}
	return netip.Addr{}
}

// address returns where others are to find this machine.
func address(cfg configs.Config, own netip.Addr, moved *doctor.Moved, wanted netip.Addr) (netip.Addr, error) {
	fixed := cfg.AdvertiseAddr
	switch {
	case moved == nil && own.IsValid():
		return own, nil
	case fixed.IsValid() && fixed == own:
		return own, fmt.Errorf("advertise_addr in %s is %s, which this machine no longer has; change it to the "+
			"address that other nodes are to use now, and run `crawlbox recover` again", cfg.File, own)
	case fixed.IsValid():
		wanted = fixed
	}
	if wanted.IsValid() && !doctor.IsLocal(wanted) {
		return wanted, fmt.Errorf("this machine does not have the address %s", wanted)
	}
	if wanted.IsValid() {
		return wanted, nil
	}
	return doctor.AdvertiseAddr()
}

// nodes returns those of the swarm, nil where it has no leader for a while.
func nodes(ctx context.Context, e *swarm.Engine) []fleet.Node {
	ctx, cancel := context.WithTimeout(ctx, swarmTimeout)
	defer cancel()
	for {
		list, err := e.Nodes(ctx)
		if err == nil && list != nil {
			return list
		}
		if clock.Sleep(ctx, 500*time.Millisecond) != nil {
			return nil
		}
	}
}

// replicas returns the managers that have the state.
func replicas(view *state.View) (list []replica.Replica, err error) {
	data, err := view.Document(state.Replicas)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		return nil, state.Damaged(state.Replicas, err)
	}
	return list, nil
}

// answers tries the machines of the other managers.
func (s *Situation) answers(ctx context.Context, port uint16) {
	var all errgroup.Group
	for i := range s.Others {
		all.Go(func() error {
			m := &s.Others[i]
			for _, try := range doctor.Dial(ctx, m.Addr, []uint16{port, swarm.Port}) {
				m.Answers = m.Answers || try.Error == ""
			}
			return nil
		})
	}
	_ = all.Wait()
}
