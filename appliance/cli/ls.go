package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func lsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the services",
		Args:  noArgs,
	}
	return reads(a, cmd, func(ctx context.Context, c *api.Client, _ []string) ([]fleet.Service, error) {
		return c.Services(ctx)
	}, a.renderServices)
}

func (a *app) renderServices(s screen, services []fleet.Service) {
	t := table{columns: []column{
		{head: "NAME", min: 12}, {head: "MODE"}, {head: "REPLICAS"},
		{head: "IMAGE", min: 16, atStart: true}, {head: "STATE", min: 8}, {head: "AGE"},
	}}
	for _, svc := range services {
		replicas := fmt.Sprintf("%d/%d", svc.Running, svc.Desired)
		t.add(cell{text: svc.Name}, cell{text: svc.Mode}, cell{text: replicas},
			cell{text: fleet.FamiliarImage(svc.Image)}, serviceState(svc), cell{text: a.since(svc.Created)})
	}
	t.write(s)
}

// serviceState says in a few words how a service fares.
func serviceState(s fleet.Service) cell {
	switch s.Update {
	case "updating", "rollback_started":
		return cell{"updating", yellow}
	case "paused", "rollback_paused":
		return cell{"update paused", red}
	}
	switch {
	case s.Pending != "":
		return cell{"updating", yellow}
	case s.Desired == 0 && s.Running > 0:
		return cell{"stopping", yellow}
	case s.Desired == 0:
		return cell{"stopped", dim}
	case !s.Settled() && s.Failed > 0:
		return cell{fmt.Sprintf("%d failing", s.Failed), red}
	case !s.Settled():
		return cell{"starting", yellow}
	case s.Running == 0 && s.Took == 0:
		return cell{"complete", green} // a job, or one that nobody saw begin
	case s.Running == 0:
		return cell{"finished in " + took(s.Took), green}
	case s.Update == "rollback_completed":
		return cell{"rolled back", yellow}
	}
	return cell{"running", green}
}
