package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/home/standby"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Swarm is what a recovery does to the swarm of this machine.
type Swarm interface {
	Leave(ctx context.Context, force bool) error
	RemoveTasks(ctx context.Context) error
	KillAllTasks(ctx context.Context) error
	Nodes(ctx context.Context) ([]fleet.Node, error)
	InitAlone(ctx context.Context, advertise netip.Addr) error
	RemoveNode(ctx context.Context, id string, force bool) error
	SetRole(ctx context.Context, id, role string) error
	ClusterID(ctx context.Context) (string, error) // Swarm's, of the swarm that this machine manages
	// SetNewest makes a commit of the state the newest, whatever was.
	SetNewest(ctx context.Context, v state.Version) error
}

// engine is a Docker Engine as a Swarm.
type engine struct{ *swarm.Engine }

func (e engine) SetNewest(ctx context.Context, v state.Version) error {
	r := e.Register(state.RegisterName)
	_, moment, err := r.Load(ctx)
	if err != nil {
		return err
	}
	return r.Swap(ctx, moment, string(v))
}

// Begin does what was decided on for a machine, before it is a node; where nothing was, it does nothing. Then
// it calls back once something is decided on while the node runs, until ctx ends: it is to begin anew.
func Begin(ctx context.Context, m *setup.Machine, again func()) error {
	err := finish(ctx, m, engine{m.Engine}, func() {})
	if err == nil {
		go watch(ctx, m.Config.DataDir, again)
	}
	return err
}

// watchEvery is how often a node looks whether it is to be recovered.
const watchEvery = time.Second

func watch(ctx context.Context, dataDir string, again func()) {
	for clock.Sleep(ctx, watchEvery) == nil {
		if _, err := os.Stat(journalPath(dataDir)); err == nil {
			again()
			return
		}
	}
}

// finish calls step after each step, for tests.
func finish(ctx context.Context, m *setup.Machine, s Swarm, step func()) error {
	j, err := Load(m.Config.DataDir)
	if j == nil || err != nil {
		return err
	}
	defer refreshing(journalPath(m.Config.DataDir))()
	m.Phase("recovering the cluster")
	r := &recovery{Machine: m, Journal: j, engine: s}
	steps := []func(context.Context) error{r.begin, r.leave, r.keepPending, r.record}
	switch {
	case j.Queue:
		steps = []func(context.Context) error{r.home}
	case j.InPlace:
		steps = []func(context.Context) error{r.alone, r.begin, r.without, r.setNewest, r.keepPending, r.record}
	}
	for _, do := range steps {
		err := do(ctx)
		if errors.Is(err, errBack) {
			m.Log.Warn("nothing was recovered: " + err.Error())
			break
		}
		if err != nil {
			j.Problem = err.Error()
			return fmt.Errorf("recover the cluster: %w; it goes on when crawlbox is started again",
				errors.Join(err, j.Save(m.Config.DataDir)))
		}
		step()
	}
	return durable.Remove(journalPath(m.Config.DataDir))
}

type recovery struct {
	*setup.Machine
	*Journal
	engine Swarm
	newest state.Version
}

// begin has the epoch begin.
func (r *recovery) begin(context.Context) (err error) {
	opts := authority.Options{
		DataDir: r.Config.DataDir,
		NodeDir: setup.NodeDir(r.Config),
		Self:    pki.Self{Name: r.Name, Addr: r.Addr, Version: r.Version},
		Log:     r.Log,
	}
	if setup.StateOf(r.Config) == setup.Joined {
		if opts.Joined, err = setup.JoinedAs(r.Config); err != nil {
			return err
		}
	}
	r.newest, err = authority.Begin(opts, r.Epoch, r.documents)
	return err
}

// documents returns those that are otherwise in the new epoch.
func (r *recovery) documents(docs state.Contents) (changes state.Contents, err error) {
	if !r.InPlace {
		if changes, err = member.Restored(docs, time.Now()); err == nil {
			changes[state.Replicas] = nil // they are of the swarm before
		}
		return changes, err
	}
	if changes, err = member.Without(docs, time.Now(), r.Gone); err != nil {
		return nil, err
	}
	changes[state.Replicas], err = json.Marshal([]replica.Replica{r.Own})
	return changes, err
}

// slowLeave is how long Docker may take to leave a swarm before that is said.
const slowLeave = 30 * time.Second

// leave has Docker leave the swarm before, with what runs here.
func (r *recovery) leave(ctx context.Context) error {
	r.Phase("recovering the cluster: leaving the swarm before")
	hint := time.AfterFunc(slowLeave, func() {
		const text = "Docker takes long to leave the swarm before; if it hangs, `systemctl restart docker` ends that"
		r.Phase("recovering the cluster: " + text)
		r.Log.Warn(text)
	})
	defer hint.Stop()
	if err := r.engine.Leave(ctx, true); err != nil {
		return err
	}
	return r.engine.RemoveTasks(ctx)
}

// home makes this the manager that has the queue, as it was when it was copied here, or empty.
func (r *recovery) home(ctx context.Context) error {
	id, err := r.engine.ClusterID(ctx)
	if err != nil {
		return err
	}
	return standby.Adopt(r.Config, id, r.Addr)
}

// keepPending leaves the rest to the node, once it runs.
func (r *recovery) keepPending(context.Context) error { return r.Pending.In(r.Config.DataDir).Save() }

// record makes this the manager that made the swarm, which has what only one has.
func (r *recovery) record(ctx context.Context) (err error) {
	id := "" // that of a swarm which is yet to be made
	if r.InPlace {
		if id, err = r.engine.ClusterID(ctx); err != nil {
			return err
		}
	}
	if setup.StateOf(r.Config) != setup.Created { // another had the queue
		return standby.Adopt(r.Config, id, r.Addr)
	}
	return setup.Keep(r.Config, id, r.Addr)
}

const (
	// electionTimeout bounds how long this manager takes to lead alone.
	electionTimeout = time.Minute
	// leaderTimeout bounds how long a swarm that has a leader takes to answer.
	leaderTimeout = 5 * time.Second
)

// errBack ends a recovery that is not needed.
var errBack = errors.New("the swarm has a leader again, since other managers are back")

// alone has this manager alone have Swarm's raft.
func (r *recovery) alone(ctx context.Context) error {
	r.Phase("recovering the cluster: making this the only manager")
	asked, cancel := context.WithTimeout(ctx, leaderTimeout)
	nodes, err := r.engine.Nodes(asked)
	cancel()
	leads := err == nil && len(nodes) > 0
	switch {
	case leads && r.Alone:
		return nil
	case leads:
		return errBack
	}
	r.Alone = true
	if err := r.Save(r.Config.DataDir); err != nil {
		return err
	}
	// Docker would ask what runs here to end, and what then does so with exit code 0 is done for Swarm.
	if err := r.engine.KillAllTasks(ctx); err != nil {
		return err
	}
	if err := r.engine.InitAlone(ctx, r.Addr); err != nil {
		return err
	}
	_, err = r.awaitNodes(ctx)
	return err
}

func (r *recovery) awaitNodes(ctx context.Context) (nodes []fleet.Node, err error) {
	elected, cancel := context.WithTimeout(ctx, electionTimeout)
	defer cancel()
	for {
		if nodes, err = r.engine.Nodes(elected); err == nil {
			return nodes, nil
		}
		if clock.Sleep(elected, 200*time.Millisecond) != nil {
			return nil, fmt.Errorf("the swarm of this manager alone has no leader after %s: %w", electionTimeout, err)
		}
	}
}

// without takes the other managers off Swarm's list: their tasks start elsewhere, and they can't come back
// into the swarm but by the cluster's notice.
func (r *recovery) without(ctx context.Context) error {
	nodes, err := r.awaitNodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.ID == r.Own.Node || n.Role != fleet.RoleManager {
			continue
		}
		if n.Raft { // it is back already
			err = r.engine.SetRole(ctx, n.ID, fleet.RoleWorker)
		} else {
			err = r.engine.RemoveNode(ctx, n.ID, true)
		}
		if err != nil {
			return fmt.Errorf("have %s be no manager: %w", n.Display, err)
		}
	}
	return nil
}

// setNewest has the state here be the newest, though another may have been that only other managers have.
func (r *recovery) setNewest(ctx context.Context) error { return r.engine.SetNewest(ctx, r.newest) }
