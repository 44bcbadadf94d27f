package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cluster/recovery"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// RecoverCmd returns crawlbox recover.
func RecoverCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Bring the cluster back on this manager, which others no longer find or are lost",
		Long: `Bring the cluster back on this manager, as root: where its machine has another
address than the other nodes know, or where most of the managers are gone for
good. It says what is wrong and what it will do, and asks. Where nothing is
to be recovered, nothing is changed.

With the address that it had, this manager goes on as the only one in its swarm:
what runs on other nodes runs on. With another address it makes a new swarm, and
all nodes follow it there by themselves: services start there again; the
cluster's state, images and the queue stay where they are. Other managers stand
down when they wake up.

With --queue, where the manager that had the queue is gone for good and off the
list, this manager has the queue as it was copied here, or an empty one; nothing
else changes.

Killed at any moment, it goes on when crawlbox starts.`,
		Example: "  crawlbox recover\n  crawlbox recover --yes",
		Args:    command.NoArgs,
	}
	yes := command.YesFlag(cmd)
	queue := cmd.Flags().Bool("queue", false, "have the queue here; its home is gone")
	advertise := cmd.Flags().String("advertise-addr", "", "`address` other nodes use then (default: found)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := configs.Load(a.Config)
		if err != nil {
			return err
		}
		if err := doctor.Root(); err != nil {
			return err
		}
		var addr netip.Addr
		if *advertise != "" {
			if addr, err = netip.ParseAddr(*advertise); err != nil {
				return command.Usagef(cmd, "--advertise-addr %q is no address", *advertise)
			}
		}
		j, err := recovery.Load(cfg.DataDir)
		if err == nil && j == nil {
			j, err = decideRecovery(a, cmd, cfg, addr, *queue, *yes)
		}
		if err != nil {
			return err
		}
		return awaitRecovery(a, cmd.Context(), cfg, *j)
	}
	return cmd
}

// decideRecovery looks at what is wrong, asks, and has the node do what it takes.
func decideRecovery(a *command.App, cmd *cobra.Command, cfg configs.Config, addr netip.Addr,
	queue, yes bool) (*recovery.Journal, error) {
	ctx := cmd.Context()
	engine, err := swarm.Open(cfg.Docker.Host)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	name, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	s, err := recovery.Look(ctx, cfg, engine, name, addr)
	if err != nil {
		return nil, err
	}
	plan, err := s.Decide()
	if queue {
		plan, err = s.DecideQueue()
	}
	if err != nil {
		return nil, err
	}
	j := recovery.Journal{Begun: time.Now().UTC(), Addr: s.Addr, InPlace: true, Queue: true, Copy: s.Copy}
	var notes []string
	if !queue {
		if j, notes, err = s.Prepare(ctx, cfg, engine, a.Version, plan); err != nil {
			return nil, err
		}
	}
	for _, text := range append([]string{plan.Why, "then " + plan.What}, notes...) {
		if err := a.Say("%s", text); err != nil {
			return nil, err
		}
	}
	if !yes {
		err := a.Sure(cmd, command.Question{Do: "recover the cluster", Not: "nothing was changed"})
		if err != nil {
			return nil, err
		}
	}
	return &j, j.Save(cfg.DataDir)
}

const (
	// done is how long a node may take to do its part, and slow after how long it is said what may be wrong.
	done = 10 * time.Minute
	slow = 45 * time.Second
	// recovered is how long it is waited for the other nodes, and inPlace for those of a swarm that stays:
	// their Docker finds the manager by itself.
	recovered = 2 * time.Minute
	inPlace   = 15 * time.Second
)

// reason ends a sentence with why something failed, if that is known.
func reason(problem string) string {
	if problem == "" {
		return ""
	}
	return ": " + words.OneLine(problem)
}

// awaitRecovery waits until the node has done its part, and then for the others.
func awaitRecovery(a *command.App, ctx context.Context, cfg configs.Config, j recovery.Journal) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	begun, said, most := time.Now(), "", recovered
	if j.InPlace {
		most = inPlace
	}
	tell := func(format string, args ...any) error {
		if text := fmt.Sprintf(format, args...); text != said {
			said = text
			return a.Say("%s", text)
		}
		return nil
	}
	for {
		left, err := recovery.Load(cfg.DataDir)
		if err != nil {
			return err
		}
		status, failed := c.Status(ctx)
		switch {
		case left != nil && errors.Is(failed, api.ErrNotRunning) && !recovery.UnderWay(cfg.DataDir):
			return fmt.Errorf("it is decided, and crawlbox does it when it starts: %w", failed)
		case left != nil && time.Since(begun) > done:
			return fmt.Errorf("crawlbox is at it for %s, and goes on; `systemctl status crawlbox` says what it waits "+
				"for%s", done, reason(left.Problem))
		case left != nil && left.Problem != "":
			err = tell("crawlbox tries it again%s", reason(left.Problem))
		case left != nil && time.Since(begun) > slow:
			err = tell("it takes long, as where Docker does not leave its swarm: if `systemctl status crawlbox` says " +
				"so, `systemctl restart docker` ends that")
		case left != nil:
			err = tell("crawlbox starts again to do it")
		case failed != nil:
			err = tell("waiting for crawlbox to serve")
		default:
			ready, all, whole := back(ctx, c, j)
			if whole || time.Since(begun) > most {
				if j.Queue {
					is := "which is empty"
					if j.Copy != nil {
						is = j.Copy.String()
					}
					return a.Printf("%s (%s) has the cluster's queue, %s; have services know it with "+
						"`crawlbox restart`\n", status.Node, status.Addr, is)
				}
				return recoveredAs(a, status, ready, all)
			}
			err = tell("%d of %s are back", ready, words.Count(all, "node"))
		}
		if err != nil {
			return err
		}
		if clock.Sleep(ctx, 500*time.Millisecond) != nil {
			return fmt.Errorf("%w; it goes on without this command", command.ErrInterrupted)
		}
	}
}

// back returns how many nodes are ready, of how many, and whether all is done.
func back(ctx context.Context, c *api.Client, j recovery.Journal) (ready, all int, done bool) {
	nodes, err := c.Nodes(ctx)
	for _, n := range nodes {
		if n.State == fleet.StateReady {
			ready++
		}
	}
	all = max(len(nodes), len(j.Pending.Nodes))
	services, listed := c.Services(ctx)
	made := listed == nil && len(services) >= len(j.Pending.Objects.Services)
	return ready, all, err == nil && ready > 0 && ready >= all && made
}

func recoveredAs(a *command.App, status api.Status, ready, all int) error {
	text := fmt.Sprintf("the cluster is back on %s (%s): %d of %s are ready", status.Node, status.Addr, ready,
		words.Count(all, "node"))
	if ready < all {
		text += "; the others follow by themselves, and `crawlbox status` shows what is left"
	}
	return a.Printf("%s\n", text)
}
