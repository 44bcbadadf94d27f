package setup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/notices"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/notice"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// noticeFile has the notice that the cluster was restored, while this machine has not done what
	// follows of it, and for good on the manager that stands down.
	noticeFile = "restored.json"
	followed   = ".followed" // is added to the name once it has
	moveRetry  = 2 * time.Second
)

// NoticePath returns where a machine keeps the notice that its cluster was restored, until it has moved.
func NoticePath(cfg configs.Config) string {
	if StateOf(cfg) == Created {
		return filepath.Join(cfg.DataDir, noticeFile)
	}
	return filepath.Join(NodeDir(cfg), noticeFile)
}

// Replaced returns the error of a manager that has stood down, nil where it has not.
func Replaced(cfg configs.Config) error {
	n, err := notice.Load(NoticePath(cfg))
	if err != nil || len(n.Managers) == 0 || StateOf(cfg) != Created {
		return err
	}
	return fmt.Errorf("%w; the manager is %s now: run `crawlbox leave --force` here (`crawlbox uninstall --yes` "+
		"where it is installed), and join that cluster with the line that `crawlbox token` prints there",
		notice.ErrReplaced, n.Managers[0].Addr())
}

// Moving reports whether a node that joined is on its way to the manager that has restored its cluster.
func Moving(cfg configs.Config) bool {
	n, err := notice.Load(NoticePath(cfg))
	return err == nil && len(n.Managers) > 0 && StateOf(cfg) == Joined
}

// standDown has the manager of a cluster that was restored elsewhere leave its swarm, whatever it had of
// that, with all containers.
func (m *Machine) standDown(ctx context.Context) error {
	replaced := Replaced(m.Config)
	if replaced == nil {
		return nil
	}
	m.Phase("standing down: the cluster was restored on another machine")
	if err := m.Engine.Leave(ctx, true); err != nil {
		return fmt.Errorf("%w (its Docker could not leave the swarm: %w)", replaced, err)
	}
	if err := m.Engine.RemoveTasks(ctx); err != nil {
		return fmt.Errorf("%w (its containers could not be removed: %w)", replaced, err)
	}
	return replaced
}

const (
	// hearEvery is how often a manager whose swarm has no leader asks nodes whether its cluster is elsewhere,
	// hearTimeout how long they have, and asked how many of them it asks.
	hearEvery   = 5 * time.Second
	hearTimeout = 3 * time.Second
	asked       = 16
)

// hear asks nodes of the cluster of this manager, whose own parts do not run yet, whether it was restored or
// recovered elsewhere, and keeps the notice. It reports whether it was.
func (m *Machine) hear(ctx context.Context) bool {
	id, err := JoinedAs(m.Config)
	if err != nil {
		return false
	}
	epoch, known := id.Membership().Restored, slices.Clone(id.Membership().Nodes)
	if view, err := state.Look(state.Dir(m.Config.DataDir)); err == nil {
		epoch, known = max(epoch, view.Commit.Epoch), append(known, member.Addresses(view)...)
	}
	for _, manager := range id.Membership().Managers {
		known = append(known, manager.Addr())
	}
	slices.SortFunc(known, netip.Addr.Compare)
	known = slices.DeleteFunc(slices.Compact(known), func(a netip.Addr) bool { return a == id.Self.Addr })
	rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	client := agent.NewClient(func(at netip.AddrPort) bool { return slices.Contains(known, at.Addr().Unmap()) }, id)
	defer client.CloseIdleConnections()
	nodes := make([]agent.Target, min(len(known), asked))
	for i := range nodes {
		nodes[i] = agent.Target{Client: client, Addr: netip.AddrPortFrom(known[i], m.Config.Node.Port)}
	}
	ctx, cancel := context.WithTimeout(ctx, hearTimeout)
	defer cancel()
	n := notices.Newest(ctx, id, epoch, nodes)
	return n.Epoch > epoch && n.Save(NoticePath(m.Config)) == nil
}

// move has a node follow a cluster that was restored into its new swarm: it leaves the dead one, with all
// its tasks, and joins the other by its own certificate. It goes on until a manager of the new one says
// yes, or that the node was removed.
func (j *joining) move(ctx context.Context, n notice.Notice) error {
	j.Log.Info("the cluster was restored; this node moves to its new swarm", "managers", n.Managers)
	begun, m := time.Now(), j.Identity.Membership()
	m.Managers, m.Swarm = n.Managers, pki.SwarmJoin{}
	if err := j.Identity.Adopt(m); err != nil {
		return err
	}
	j.Phase("moving to the swarm of the restored cluster")
	said := false
	for {
		err := j.Engine.Leave(ctx, true)
		if err == nil {
			err = state.Remove(j.Config.DataDir) // of a manager that had it
		}
		if err == nil {
			err = j.joinWithNewToken(ctx)
		}
		switch {
		case err == nil:
			return j.moved()
		case errors.Is(err, pki.ErrRemoved):
			return errors.Join(err, os.Remove(NoticePath(j.Config)))
		}
		j.Log.Debug("failed to join the restored cluster; will retry", "error", err)
		if errors.Is(err, enroll.ErrUnbound) && time.Since(begun) > unknownAge && !said {
			said = true
			j.Phase(unknownText)
			j.Log.Warn(unknownText)
		}
		if clock.Sleep(ctx, moveRetry) != nil {
			return ctx.Err()
		}
	}
}

// unknownAge is how long a manager that restored its cluster may not know a node before that is said: it may
// be slow to welcome one that was away.
const unknownAge = 20 * time.Second

// unknownText says what to do about a node that the backup does not have.
var unknownText = "the manager of the restored cluster does not know this node, as where it joined after the backup " +
	"was made: join it again with " + naming.JoinAgain

// rejoinBy has a join token let this node in, where the manager does not know it for its certificate.
func (j *joining) rejoinBy(id *pki.Identity, joinToken string) {
	t, err := token.Parse(joinToken)
	if err != nil || t.CA != id.CA() {
		return
	}
	self := pki.Self{Name: j.Name, Addr: id.Self.Addr, Version: j.Version}
	j.rejoin = func(ctx context.Context) (*pki.Identity, error) {
		return enroll.Rejoin(ctx, NodeDir(j.Config), t, self, j.Log)
	}
}

// moved ends a move.
func (j *joining) moved() error {
	for _, registry := range managersRegistries(j.Config, j.Identity) {
		if err := pki.InstallCA(pki.CertsDir, registry, j.Identity.CAPEM()); err != nil {
			return err
		}
	}
	if err := j.Identity.DropSwarmToken(); err != nil {
		return err
	}
	return os.Rename(NoticePath(j.Config), NoticePath(j.Config)+followed)
}

// Newest returns the newest notice that a node which joined its cluster knows of.
func Newest(cfg configs.Config) (notice.Notice, error) {
	n, err := notice.Load(NoticePath(cfg))
	if err != nil || len(n.Managers) > 0 {
		return n, err
	}
	return notice.Load(NoticePath(cfg) + followed)
}

// Hears returns how a node takes the notice that its cluster was restored: it keeps it, and begins anew.
func Hears(cfg configs.Config, id *pki.Identity, again func(), audit func(string, ...slog.Attr),
	log *slog.Logger) notices.Node {
	return notices.Node{
		Identity: id,
		Epoch:    func() int { return id.Membership().Restored },
		Follow: func(n notice.Notice) error {
			log.Info("the cluster was restored on another machine", "managers", n.Managers)
			err := n.Save(NoticePath(cfg))
			if err == nil {
				again()
			}
			return err
		},
		Newest: func() (notice.Notice, error) { return Newest(cfg) },
		Audit:  audit,
		Log:    log,
	}
}

// KeepNotice keeps the notice of a manager that has restored its cluster, for who asks.
func KeepNotice(cfg configs.Config, n notice.Notice) error { return n.Save(NoticePath(cfg) + followed) }
