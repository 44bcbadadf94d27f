package service

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func PsCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ps [SERVICE]",
		Short: "List the tasks of a service, or of all",
		Long: `List the tasks of a service, or of all: one for each replica, and of one that
failed the task before, with its error; one that several share is told once.

STATE is running; new, pending, assigned, preparing or starting on its way to
that; restarts in 9s, when the one before failed; complete, when it ended with
exit code 0; failed with another; rejected, when its node could not start it;
stopping, when it is told to end; shutdown, when it was replaced; orphaned, when
its node is gone.`,
		SuggestFor:        []string{"tasks", "top"},
		Example:           "  crawlbox ps\n  crawlbox ps spider --all\n  crawlbox ps --node h2 --watch",
		Args:              command.AtMostOne("one service"),
		ValidArgsFunction: a.CompleteOne(command.ServiceNames),
	}
	var q api.TaskQuery
	cmd.Flags().StringVar(&q.Node, "node", "", "only tasks on this `node`")
	cmd.Flags().BoolVarP(&q.All, "all", "a", false, "also tasks that were replaced")
	_ = cmd.RegisterFlagCompletionFunc("node", a.Complete(command.NodeNames))
	return command.Watches(a, cmd, func(ctx context.Context, c *api.Client, args []string) ([]fleet.Task, error) {
		if len(args) > 0 {
			q.Service = args[0]
		}
		return c.Tasks(ctx, q)
	}, renderTasks)
}

func renderTasks(s tui.Screen, tasks []fleet.Task) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "TASK", Min: 14},
		{Head: "NODE", Min: 8},
		{Head: "STATE", Min: 16},
		{Head: "IMAGE", Min: 16, AtStart: true},
	}}
	last, sharing := "", sharedReasons(tasks)
	for _, task := range tasks {
		name := task.Name()
		shown := name
		if name == last {
			shown = ` \_ ` + name // an earlier one in the same slot, as docker shows it
		}
		last = name
		t.Add(tui.Text(shown), tui.Text(tui.OrDash(task.Node)), taskState(s, task),
			tui.Text(fleet.FamiliarImage(task.Image)))
		why := reasonOf(task)
		switch n := sharing[why]; {
		case why.text == "" || n == 0: // none, or it is told
		case n == 1:
			t.Note(why.text)
		default:
			t.Note(fmt.Sprintf("%s of %s: %s", words.Count(n, "task"), why.service, why.text))
		}
		delete(sharing, why)
	}
	t.Write(s)
}

// reason is why tasks of a service are not as they should be.
type reason struct{ service, text string }

func reasonOf(t fleet.Task) reason { return reason{t.Service, cmp.Or(t.Lost, t.Error)} }

// sharedReasons counts the tasks that have a reason.
func sharedReasons(tasks []fleet.Task) map[reason]int {
	count := map[reason]int{}
	for _, t := range tasks {
		count[reasonOf(t)]++
	}
	return count
}

func taskState(s tui.Screen, t fleet.Task) tui.Cell {
	since := s.Since(t.Since)
	stop := t.Desired == fleet.TaskShutdown || t.Desired == fleet.TaskRemove
	switch {
	case t.Lost != "":
		return tui.Styled("lost, was "+t.State, tui.Red)
	case t.State == fleet.TaskFailed || t.State == fleet.TaskRejected || t.State == fleet.TaskOrphaned:
		return tui.Styled(t.State+" "+since+" ago", tui.Red)
	case t.Ended():
		return tui.Styled(t.State+" "+since+" ago", tui.Dim)
	case stop:
		return tui.Styled("stopping "+since, tui.Yellow)
	case t.Starts.After(s.Now()):
		return tui.Styled("restarts "+s.Until(t.Starts), tui.Yellow)
	case !t.Starts.IsZero():
		return tui.Styled("restarts now", tui.Yellow)
	case t.State == fleet.TaskRunning:
		return tui.Styled(t.State+" "+since, tui.Green)
	}
	return tui.Styled(t.State+" "+since, tui.Yellow)
}
