package run

import (
	"errors"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/configs"
)

// IsNew reports whether a manager that starts here now makes its cluster, or joins one.
func IsNew(cfg configs.Config) bool {
	_, err := state.Look(state.Dir(cfg.DataDir))
	return errors.Is(err, state.ErrNotFound)
}

// ShowRecoveryKey tells a person the recovery key of a cluster that was made here. What is no terminal
// is a log, as a rule, and a log holds no secret.
func ShowRecoveryKey(a *command.App, cfg configs.Config) {
	if !tui.IsTerminal(a.Env.Stdout) {
		return
	}
	view, err := state.Look(state.Dir(cfg.DataDir))
	if err != nil {
		return // it joined its cluster
	}
	if key, err := backup.LookKey(view); err == nil {
		_ = a.Printf("the nodes keep sealed backups of the cluster; only its recovery key opens them, so write it "+
			"down and keep it elsewhere (`crawlbox recovery-key` shows it again)\n\n    %s\n\n", key.Reveal())
	}
}
