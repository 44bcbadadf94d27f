package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func psCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "ps [SERVICE]",
		Short:             "List the tasks of a service, or of all",
		Args:              atMostOne("one service"),
		ValidArgsFunction: a.completeOne(serviceNames),
	}
	var q api.TaskQuery
	cmd.Flags().StringVar(&q.Node, "node", "", "only tasks on this `node`")
	cmd.Flags().BoolVarP(&q.All, "all", "a", false, "also tasks that were replaced")
	_ = cmd.RegisterFlagCompletionFunc("node", a.complete(nodeNames))
	return reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) ([]fleet.Task, error) {
		if len(args) > 0 {
			q.Service = args[0]
		}
		return c.Tasks(ctx, q)
	}, a.renderTasks)
}

func (a *app) renderTasks(s screen, tasks []fleet.Task) {
	t := table{columns: []column{
		{head: "TASK", min: 14}, {head: "NODE", min: 8}, {head: "STATE", min: 16}, {head: "IMAGE", min: 16, atStart: true},
	}}
	last := ""
	for _, task := range tasks {
		name := task.Name()
		shown := name
		if name == last {
			shown = ` \_ ` + name // an earlier one in the same slot, as docker shows it
		}
		last = name
		t.add(cell{text: shown}, cell{text: orDash(task.Node)}, a.taskState(task), cell{text: fleet.FamiliarImage(task.Image)})
		if task.Error != "" {
			t.note(task.Error)
		}
	}
	t.write(s)
}

func (a *app) taskState(t fleet.Task) cell {
	since := a.since(t.Since)
	stop := t.Desired == fleet.TaskShutdown || t.Desired == fleet.TaskRemove
	switch {
	case t.State == fleet.TaskFailed || t.State == fleet.TaskRejected || t.State == fleet.TaskOrphaned:
		return cell{t.State + " " + since + " ago", red}
	case t.Ended():
		return cell{t.State + " " + since + " ago", dim}
	case stop:
		return cell{"stopping " + since, yellow}
	case t.State == fleet.TaskRunning:
		return cell{t.State + " " + since, green}
	}
	return cell{t.State + " " + since, yellow}
}
