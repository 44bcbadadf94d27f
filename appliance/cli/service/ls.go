// Package service has the commands that show services and change those that run. They
// ask the node that runs here and draw its answer; package change follows what takes time.
package service

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func LsCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the services",
		Long: `List the services.

STATE is running, when as many replicas run as it should have; starting, when
they do not yet; no node takes it, when all that may run it are drained, paused
or down; N failing, when Swarm starts N again that failed; updating, and
update paused, when a new version failed and the old one did not come back;
rolled back, when it did; finished, when all replicas have ended with exit code
0; complete, of a job; stopping and stopped, when it was scaled to 0; idle, when
its queue has nothing for it, see crawlbox autoscale.`,
		SuggestFor: []string{"list", "services"},
		Example:    "  crawlbox ls\n  crawlbox ls --watch",
		Args:       command.NoArgs,
	}
	return command.WatchesAll(a, cmd, (*api.Client).Services, renderServices)
}

func renderServices(s tui.Screen, services []fleet.Service) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "NAME", Min: 12}, {Head: "MODE"}, {Head: "REPLICAS"},
		{Head: "IMAGE", Min: 16, AtStart: true}, {Head: "STATE", Min: 8}, {Head: "AGE"},
	}}
	for _, svc := range services {
		replicas := fmt.Sprintf("%d/%d", svc.Running, svc.Desired)
		t.Add(tui.Text(svc.Name), tui.Text(svc.Mode), tui.Text(replicas),
			tui.Text(fleet.FamiliarImage(svc.Image)), serviceState(svc), tui.Text(s.Since(svc.Created)))
		if svc.Autoscale != nil {
			t.Marked(tui.Remark, followed(*svc.Autoscale))
		}
	}
	t.Write(s)
}

// followed says how the replicas of a service follow a queue, and why there are as many.
func followed(a fleet.Autoscale) string {
	text := "autoscale: " + a.Rule.String()
	switch {
	case a.Paused != "":
		text += "; paused: " + a.Paused
	case a.Why != "":
		text += "; last: " + a.Why
	}
	return text
}

func serviceState(s fleet.Service) tui.Cell {
	switch s.Update {
	case fleet.Updating, fleet.RollingBack:
		return tui.Styled("updating", tui.Yellow)
	case fleet.UpdatePaused, fleet.RollbackPaused:
		return tui.Styled("update paused", tui.Red)
	}
	switch {
	case s.NoNode:
		return tui.Styled("no node takes it", tui.Red)
	case s.Lost > 0:
		return tui.Styled(fmt.Sprintf("%d lost", s.Lost), tui.Red)
	case s.Pending != "":
		return tui.Styled("updating", tui.Yellow)
	case s.Desired == 0 && s.Running > 0:
		return tui.Styled("stopping", tui.Yellow)
	case s.Desired == 0 && s.Autoscale != nil && s.Autoscale.Paused == "":
		return tui.Styled("idle", tui.Dim)
	case s.Desired == 0:
		return tui.Styled("stopped", tui.Dim)
	case !s.Converged() && s.Failed > 0:
		return tui.Styled(fmt.Sprintf("%d failing", s.Failed), tui.Red)
	case !s.Converged():
		return tui.Styled("starting", tui.Yellow)
	case s.Running == 0 && s.Took == 0:
		return tui.Styled("complete", tui.Green) // a job, or one that nobody saw begin
	case s.Running == 0:
		return tui.Styled("finished in "+tui.Took(s.Took), tui.Green)
	case s.Update == fleet.UpdateRolledBack:
		return tui.Styled("rolled back", tui.Yellow)
	}
	return tui.Styled("running", tui.Green)
}

func InspectCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "inspect SERVICE",
		Short:             "Show all of a service as JSON, with Docker's own description",
		Example:           "  crawlbox inspect spider",
		Args:              command.ExactlyOne("one service"),
		ValidArgsFunction: a.CompleteOne(command.ServiceNames),
	}
	command.JSONFlag(cmd) // accepted like everywhere; there is no other form
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		v, err := c.Inspect(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.PrintJSON(v)
	})
	return cmd
}
