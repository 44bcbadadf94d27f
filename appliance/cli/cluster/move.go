package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
)

// MoveCmd returns crawlbox move.
func MoveCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "move NODE",
		Short: "Move the manager's duties and the queue to another node",
		Long: `Move the manager's duties and the queue to another node, such as a better
server, as root on the manager that has the queue. No spider stops.

NODE is asked whether it can take them, which its own config file may forbid.
Then it becomes a manager, and it is waited until it has the cluster's state and
all images. Then the queue stops for a moment, in which its clients try again;
what is in it goes to NODE over mutual TLS, with the config file, and goes on
there. At last this node becomes a worker. If NODE dies before it has the queue,
all stays here.

Services that run reach the queue through this node until they are deployed or
restarted again: keep it until then.`,
		Example:           "  crawlbox move h2",
		Args:              command.ExactlyOne("a node"),
		ValidArgsFunction: a.CompleteOne(command.NodeNames),
	}
	yes := command.YesFlag(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		cfg, err := configs.Load(a.Config)
		if err != nil {
			return err
		}
		if err := doctor.Root(); err != nil {
			return err
		}
		m := mover{App: a, client: c, cfg: cfg}
		if err := m.find(cmd.Context(), args[0]); err != nil {
			return err
		}
		if !*yes {
			err := a.Sure(cmd, command.Question{
				Why: "the queue pauses for as long as its items take to get there",
				Do:  "move the manager's duties to " + m.to.Display,
				Not: "nothing was changed",
			})
			if err != nil {
				return err
			}
		}
		return m.move(cmd.Context())
	})
	return cmd
}

// mover is a move from this node to another one.
type mover struct {
	*command.App
	client   *api.Client
	cfg      configs.Config
	own, to  fleet.Node
	underway bool
}

// find finds both nodes, and refuses what cannot be moved.
func (m *mover) find(ctx context.Context, name string) error {
	under, err := home.Load(m.cfg.DataDir)
	if err != nil {
		return err
	}
	m.underway = under != nil
	if m.underway && under.Name != name {
		return fmt.Errorf("a move to %s is under way; wait for its end, or run `crawlbox move %[1]s` to see it",
			under.Name)
	}
	if setup.StateOf(m.cfg) != setup.Created {
		return errors.New("this node does not have the queue; run the command on the manager that has, which " +
			"`crawlbox status` names")
	}
	nodes, err := m.client.Nodes(ctx)
	if err != nil {
		return err
	}
	named, err := m.client.Node(ctx, name)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Self {
			m.own = n
		}
		if n.ID == named.ID {
			m.to = n // with what gossip has of it
		}
	}
	switch {
	case m.to.Self:
		return errors.New("the queue is here already")
	case m.to.State != fleet.StateReady || m.to.Agent == nil || m.to.Agent.State != fleet.AgentAlive:
		return fmt.Errorf("%s is not up, or its crawlbox is not: `crawlbox nodes` says more", m.to.Display)
	case m.own.Agent != nil && m.to.Agent.Version != m.own.Agent.Version:
		return fmt.Errorf("%s runs another version of crawlbox (%s); bring all nodes onto one with `crawlbox upgrade`",
			m.to.Display, m.to.Agent.Version)
	}
	return nil
}

const (
	// imagesTimeout is how long a new manager may take to have all images.
	imagesTimeout = 30 * time.Minute
	// movedTimeout is how long the queue may take to be there.
	movedTimeout = 30 * time.Minute
	// demoteTimeout is how long Swarm may take to make a manager a worker.
	demoteTimeout = time.Minute
)

func (m *mover) move(ctx context.Context) error {
	if !m.underway {
		if err := m.prepare(ctx); err != nil {
			return err
		}
	}
	err := m.await(ctx, movedTimeout, "the queue and the config move to "+m.to.Display, func() (bool, error) {
		under, err := home.Load(m.cfg.DataDir)
		return under == nil && err == nil, err
	})
	if err != nil {
		return goesOn(err)
	}
	stays := setup.StateOf(m.cfg) == setup.Created
	what := "this node becomes a worker"
	if stays {
		what = "what was changed is undone"
	}
	err = m.await(ctx, demoteTimeout, what, func() (bool, error) {
		left, err := home.Demotes(m.cfg.DataDir)
		return !left, err
	})
	switch {
	case stays:
		return fmt.Errorf("%s did not take the queue, which stays here: `journalctl -u crawlbox` here says why; where "+
			"the move had made %[1]s a manager, it becomes a worker again", m.to.Display)
	case err != nil:
		return fmt.Errorf("%s has the queue, but this node is no worker yet: %w", m.to.Display, goesOn(err))
	}
	return m.Printf("%s has the queue and the manager's duties, and this node is a worker. Services reach the queue "+
		"through it until they are deployed or restarted again; `crawlbox token` on %[1]s prints new join tokens\n",
		m.to.Display)
}

// goesOn returns the error of a wait for what the node does by itself.
func goesOn(err error) error {
	return fmt.Errorf("%w; the crawlbox here goes on with it, and `journalctl -u crawlbox` says how", err)
}

// prepare has the other be a manager that has all, and has this node move what it has. Before that the other is asked
// whether it would take it, and what fails before the node begins is undone.
func (m *mover) prepare(ctx context.Context) error {
	addr, err := netip.ParseAddr(m.to.Addr)
	if err != nil {
		return err
	}
	if err := home.Fits(ctx, m.cfg, addr); err != nil {
		return fmt.Errorf("%s can't be moved to: %w; nothing was changed", m.to.Display, err)
	}
	move := home.New(m.to.Name, addr)
	move.Own, move.Node, move.Promoted = m.own.ID, m.to.ID, !promote.is(m.to)
	if move.Promoted {
		if err := m.client.SetNode(ctx, m.to.ID, promote.name); err != nil {
			return err
		}
	}
	err = m.await(ctx, imagesTimeout, m.to.Display+" gets the cluster's state and images", m.isFull)
	if err == nil {
		err = move.Save(m.cfg.DataDir)
	}
	if err == nil || !move.Promoted {
		return err
	}
	return m.takeBack(context.WithoutCancel(ctx), err)
}

// takeBack makes the other a worker again for a reason, which it returns.
func (m *mover) takeBack(ctx context.Context, why error) error {
	var last error
	err := m.await(ctx, demoteTimeout, m.to.Display+" becomes a worker again", func() (bool, error) {
		last = m.client.SetNode(ctx, m.to.ID, demote.name)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w; %s stays a manager (%w): make it a worker with `crawlbox node demote %[2]s`", why,
			m.to.Display, last)
	}
	return fmt.Errorf("%w; nothing was moved", why)
}

// isFull reports whether the other has the state and all images.
func (m *mover) isFull() (bool, error) {
	view, err := state.Look(state.Dir(m.cfg.DataDir))
	if err != nil {
		return false, err
	}
	data, err := view.Document(state.Replicas)
	if err != nil {
		return false, nil // of nobody yet
	}
	var list []replica.Replica
	if err := json.Unmarshal(data, &list); err != nil {
		return false, state.Damaged(state.Replicas, err)
	}
	return slices.ContainsFunc(list, func(r replica.Replica) bool { return r.Node == m.to.ID && r.Full }), nil
}

// await says what it waits for, and waits.
func (m *mover) await(ctx context.Context, most time.Duration, what string, done func() (bool, error)) error {
	if err := m.Say("%s", what); err != nil {
		return err
	}
	for begun := time.Now(); ; {
		ok, err := done()
		switch {
		case ok || err != nil:
			return err
		case time.Since(begun) > most:
			return fmt.Errorf("waited %s: %s", most, what)
		case clock.Sleep(ctx, time.Second) != nil:
			return command.ErrInterrupted
		}
	}
}
