package cli

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/systemd/install"
	"github.com/crawlbox/crawlbox/systemd/notify"
)

// nodeFlags adds the flags of a command that runs a node. Each is a key of the
// config file with dashes, and wins over it.
func nodeFlags(f *pflag.FlagSet) {
	d := configs.Default()
	f.String("advertise-addr", "", "`address` other nodes use (default: found)")
	f.String("data-dir", d.DataDir, "state `folder`")
	f.String("docker-host", "", "Docker `engine` (default: as docker finds it)")
	f.Uint16("node-port", d.Node.Port, "`port` of mutual TLS between nodes")
	f.Uint16("gossip-port", d.Gossip.Port, "`port` of gossip between nodes")
	f.Uint16("registry-port", d.Registry.Port, "`port` of the registry")
}

// nodeOptions reads the config for a node. The log goes where it says.
func (a *app) nodeOptions(cmd *cobra.Command) (node.Options, error) {
	load := func() (configs.Config, error) { return configs.Load(a.config, configs.Flags(cmd.Flags())) }
	cfg, err := load()
	if err != nil {
		return node.Options{}, err
	}
	var level slog.LevelVar
	level.Set(cfg.LogLevel)
	log := newLogger(a.env.Stderr, &level)
	return node.Options{
		Config: cfg, Reload: load, Version: Version(), Log: log,
		Ready: func(t api.Token) {
			useUp(cfg.DataDir, log)
			a.ready(t)
		},
		Keep:  keeping(install.This()),
		Phase: notify.Phase,
		Watchdog: func(ctx context.Context, check func(context.Context) error) {
			notify.Watchdog(ctx, check, log)
		},
	}, nil
}

// ready tells a person, on standard output, what comes next. What is no terminal
// is a log, as a rule, and a log holds no secret.
func (a *app) ready(t api.Token) {
	notify.Ready("ready")
	switch {
	case t.Command == "":
		_ = a.printf("worker is ready\n")
		return
	case !isTerminal(a.env.Stdout):
		_ = a.printf("manager is ready; `crawlbox token` prints the line to run on each further server\n")
		return
	}
	_ = a.printf("manager is ready; on each further server run\n\n    %s\n\n", t.Command)
}

// runNode runs a node, tells systemd that it stops, and why if it fails. A signal
// and a leave are good ends; a leave is told to systemd, which else would start the
// node again.
func runNode(ctx context.Context, run func(context.Context, node.Options) error, opts node.Options) error {
	defer context.AfterFunc(ctx, notify.Stopping)()
	err := run(ctx, opts)
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
		notify.Phase("failed: " + withoutJoin(oneLine(err.Error())))
	}
	return err
}
