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
	return node.Options{Config: cfg, Reload: load, Version: Version(), Log: newLogger(a.env.Stderr, &level), Ready: a.ready}, nil
}

// ready tells a person, on standard output, what comes next. What is no terminal
// is a log, as a rule, and a log holds no secret.
func (a *app) ready(t api.Token) {
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

// finish ends a command that ran a node: a signal and a leave are its good ends.
func finish(ctx context.Context, err error) error {
	if errors.Is(err, node.ErrLeft) || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
