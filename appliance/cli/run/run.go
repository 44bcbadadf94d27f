// Package run has the commands that run a node in the foreground, or look whether this machine
// is fit to be one. They build a node of their own, where most others ask the one that
// runs.
package run

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/systemd/install"
	"github.com/crawlbox/crawlbox/systemd/notify"
)

// nodeFlags adds the flags of a command that runs a node. Each is a key of the
// config file with dashes, and wins over it.
func nodeFlags(f *pflag.FlagSet) {
	d := configs.Default()
	f.String("advertise-addr", "", "`address` other nodes use (default: found)")
	f.String("data-dir", d.DataDir, "state `directory`")
	f.String("docker-host", "", "Docker `engine` (default: as docker finds it)")
	f.Uint16("node-port", d.Node.Port, "`port` of mutual TLS between nodes")
	f.Uint16("gossip-port", d.Gossip.Port, "`port` of gossip between nodes")
	f.Uint16("registry-port", d.Registry.Port, "`port` of the registry")
}

// NodeOptions reads the config and the join token for a node. The log goes where it says.
func NodeOptions(a *command.App, cmd *cobra.Command) (node.Options, error) {
	load := func() (configs.Config, error) { return configs.Load(a.Config, configs.Flags(cmd.Flags())) }
	cfg, err := load()
	if err != nil {
		return node.Options{}, err
	}
	var level slog.LevelVar
	level.Set(cfg.LogLevel)
	log := command.NewLogger(a.Env.Stderr, &level)
	isNew := IsNew(cfg)
	opts := node.Options{
		Config:  cfg,
		Reload:  load,
		Version: a.Version,
		Log:     log,
		Ready: func(role string, worker api.Token, trouble string) {
			DeleteJoinToken(cfg.DataDir, log)
			if trouble == "" {
				ready(a, role, worker)
				if isNew {
					ShowRecoveryKey(a, cfg)
				}
				return
			}
			notify.Ready("ready")
			what, _, _ := strings.Cut(trouble, "; ")
			notify.Phase("it runs, but " + what)
			log.Error("this node runs, but others do not find it: " + trouble)
		},
		Keep:  startKeeper(install.LocalMachine()),
		Phase: notify.Phase,
		Watchdog: func(ctx context.Context, check func(context.Context) error) {
			notify.Watchdog(ctx, check, log)
		},
	}
	err = SetJoin(a, cmd, &opts)
	return opts, err
}

// ready tells a person, on standard output, what comes next. What is no terminal
// is a log, as a rule, and a log holds no secret.
func ready(a *command.App, role string, worker api.Token) {
	notify.Ready("ready")
	switch {
	case worker.Command == "":
		_ = a.Printf("%s is ready; `crawlbox status` shows how it is\n", role)
		return
	case !tui.IsTerminal(a.Env.Stdout):
		_ = a.Say("manager is ready; `crawlbox token` prints the line to run on each further server")
		return
	}
	_ = a.Printf("manager is ready; on each further server run\n\n    %s\n\n", worker.Command)
}

// runNode runs a node, tells systemd that it stops, and why if it fails. A signal
// and a leave are good ends; a leave is told to systemd, which else would start the
// node again.
func runNode(ctx context.Context, role string, opts node.Options) error {
	defer context.AfterFunc(ctx, notify.Stopping)()
	err := node.Run(ctx, role, opts)
	switch {
	case errors.Is(err, node.ErrLeft):
		notify.Phase("this node has left the cluster")
		if notify.Listening() {
			return node.ErrLeft
		}
		return nil
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil
	case err != nil:
		notify.Phase("failed: " + command.WithoutJoin(words.OneLine(err.Error())))
	}
	return err
}

// QueueProcessCmd returns the command that a manager starts for its queue.
func QueueProcessCmd(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:    queueproc.Command,
		Short:  "The process of the queue",
		Hidden: true,
		Args:   command.NoArgs,
		RunE:   func(*cobra.Command, []string) error { return queueproc.Main(a.Log) },
	}
}
