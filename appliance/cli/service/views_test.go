package service

import (
	"slices"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestViews(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	services, past := clitest.Must(c.Services(t.Context()))(t), clitest.Must(c.History(t.Context(), "spider"))(t)
	tasks := clitest.Must(c.Tasks(t.Context(), api.TaskQuery{All: true}))(t)
	rule := scalerule.Rule{Queue: "example:swarm:spider", PerReplica: 200, Max: 50}
	if err := c.Autoscale(t.Context(), api.AutoscaleRequest{Service: "spider", Rule: &rule}); err != nil {
		t.Fatal(err)
	}
	scaled := clitest.Must(c.Autoscaled(t.Context(), "spider"))(t)
	followers := clitest.Must(c.Services(t.Context()))(t)
	followed := slices.Clone(past)
	followed[0].Scaled = []history.Scaling{
		{At: clitest.Now, By: "autoscale", From: 0, To: 1, Why: "1 waiting, 200 a replica: 1 wanted"},
		{At: clitest.Now, By: "root@h1", From: 1, To: 3, Why: fleet.PausedWhy("spider")},
	}
	clitest.CheckViews(t, tui.NewFixed, map[string]func(tui.Screen){
		"autoscale":     func(s tui.Screen) { renderScalings(s, scaled) },
		"ls_autoscale":  func(s tui.Screen) { renderServices(s, followers) },
		"history_scale": func(s tui.Screen) { renderHistory(s, followed) },
		"ls":            func(s tui.Screen) { renderServices(s, services) },
		"ps":            func(s tui.Screen) { renderTasks(s, tasks) },
		"history":       func(s tui.Screen) { renderHistory(s, past) },
	}, nil)
}
