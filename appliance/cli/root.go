package cli

import (
	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/alerts"
	"github.com/crawlbox/crawlbox/appliance/cli/cluster"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/data"
	"github.com/crawlbox/crawlbox/appliance/cli/deploy"
	"github.com/crawlbox/crawlbox/appliance/cli/install"
	"github.com/crawlbox/crawlbox/appliance/cli/run"
	"github.com/crawlbox/crawlbox/appliance/cli/runs"
	"github.com/crawlbox/crawlbox/appliance/cli/schedules"
	"github.com/crawlbox/crawlbox/appliance/cli/service"
)

// Groups of commands in the help text.
const (
	groupNode    = "node"
	groupCluster = "cluster"
	groupService = "service"
	groupRuns    = "runs"
	groupData    = "data"
	groupOther   = "other"
)

func New(env command.Env) *cobra.Command {
	a := command.New(env, Version())
	root := command.Group(&cobra.Command{
		Use:           "crawlbox",
		Short:         "Turns bare Linux servers into a crawler cluster on Docker Swarm",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       Version(),
	})
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetVersionTemplate("crawlbox {{.Version}}\n")
	root.SetFlagErrorFunc(command.FlagError)
	root.SetHelpCommand(helpCmd(a))
	root.SetHelpFunc(withTopics(root.HelpFunc()))

	root.PersistentPreRunE = a.StartLog
	a.AddFlags(root.PersistentFlags())
	addCommands(a, root)
	return root
}

func addCommands(a *command.App, root *cobra.Command) {
	add(root, groupNode, "Run a node:", run.ManagerCmd(a), run.WorkerCmd(a), install.Cmd(a), install.UninstallCmd(a),
		run.DoctorCmd(a), run.DemoCmd(a))
	add(root, groupCluster, "The cluster:", cluster.StatusCmd(a), cluster.NodesCmd(a), cluster.NodeCmd(a),
		cluster.TokenCmd(a), cluster.CACmd(a), cluster.StateCmd(a), cluster.BackupCmd(a),
		cluster.RecoveryKeyCmd(a), cluster.RecoverCmd(a), alerts.Cmd(a),
		cluster.MoveCmd(a), cluster.UpgradeCmd(a), cluster.LeaveCmd(a))
	add(root, groupService, "Services:", service.LsCmd(a), service.PsCmd(a), service.LogsCmd(a), service.ExecCmd(a),
		deploy.Cmd(a), service.HistoryCmd(a), service.RollbackCmd(a), service.ScaleCmd(a), service.AutoscaleCmd(a),
		service.StartCmd(a),
		service.StopCmd(a), service.RestartCmd(a), service.UpdateCmd(a), service.RmCmd(a), service.InspectCmd(a))
	add(root, groupRuns, "Runs:", runs.RunCmd(a), runs.RunsCmd(a), runs.RerunCmd(a), schedules.Cmd(a))
	add(root, groupData, "Images and queues:", deploy.BuildCmd(a), deploy.PushCmd(a), data.ImagesCmd(a),
		data.RegistryCmd(a), data.QueueCmd(a))
	add(root, groupOther, "Other:", configCmd(a), versionCmd(a), completionCmd(), run.DemoSpiderCmd(a), run.KeepCmd(a),
		run.QueueProcessCmd(a))
	root.SetHelpCommandGroupID(groupOther)
}

func add(root *cobra.Command, id, title string, cmds ...*cobra.Command) {
	if len(cmds) == 0 {
		return
	}
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, cmd := range cmds {
		cmd.GroupID = id
	}
	root.AddCommand(cmds...)
}
