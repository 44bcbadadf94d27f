package cli

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// app is what all commands of one run share.
type app struct {
	env      Env
	config   string // path; empty: the default one
	socket   string
	logLevel string
	noColor  bool
	log      *slog.Logger // to stderr, from --log-level on
}

// Groups of commands in the help text.
const (
	groupNode    = "node"
	groupCluster = "cluster"
	groupService = "service"
	groupData    = "data"
	groupOther   = "other"
)

// New returns the command tree.
func New(env Env) *cobra.Command {
	if env.Now == nil {
		env.Now = time.Now
	}
	a := &app{env: env, log: slog.New(slog.DiscardHandler)}
	root := group(&cobra.Command{
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
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%w", err) })
	root.SetHelpCommand(helpCmd(a))
	root.SetHelpFunc(withTopics(root.HelpFunc()))

	root.PersistentPreRunE = a.startLog

	f := root.PersistentFlags()
	f.StringVar(&a.config, "config", "", "config `file` (default /etc/crawlbox/crawlbox.yaml)")
	f.StringVar(&a.socket, "socket", "", "`path` of the local API (default from the config)")
	f.StringVar(&a.logLevel, "log-level", "info", "log `level`: debug, info, warn or error")
	f.BoolVar(&a.noColor, "no-color", false, "no colours, as with NO_COLOR set")

	a.addCommands(root)
	return root
}

func (a *app) addCommands(root *cobra.Command) {
	add(root, groupNode, "Run a node:", managerCmd(a), workerCmd(a), installCmd(a), uninstallCmd(a), doctorCmd(a), demoCmd(a))
	add(root, groupCluster, "The cluster:", statusCmd(a), nodesCmd(a), nodeCmd(a), tokenCmd(a), caCmd(a), upgradeCmd(a), leaveCmd(a))
	add(root, groupService, "Services:", lsCmd(a), psCmd(a), logsCmd(a), deployCmd(a), historyCmd(a), rollbackCmd(a), scaleCmd(a), stopCmd(a), restartCmd(a), updateCmd(a), rmCmd(a), inspectCmd(a))
	add(root, groupData, "Images and queues:", imagesCmd(a), registryCmd(a), queueCmd(a))
	add(root, groupOther, "Other:", configCmd(a), versionCmd(a), completionCmd(), demoSpiderCmd(a), keepCmd(a), queueProcessCmd(a))
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

// group makes cmd a command that only has others below it: alone it shows its
// help, and it refuses what is not there.
func group(cmd *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subcommands...)
	cmd.Args = knownCommand
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		slices.Sort(near)
		return usagef(cmd, "unknown command %q (did you mean %s?)", args[0], strings.Join(near, " or "))
	}
	return usagef(cmd, "unknown command %q", args[0])
}
