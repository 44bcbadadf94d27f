package service

import (
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func TestViews(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	services, past := clitest.Must(c.Services(t.Context()))(t), clitest.Must(c.History(t.Context(), "spider"))(t)
	tasks := clitest.Must(c.Tasks(t.Context(), api.TaskQuery{All: true}))(t)
	clitest.CheckViews(t, tui.NewFixed, map[string]func(tui.Screen){
		"ls":      func(s tui.Screen) { renderServices(s, services) },
		"ps":      func(s tui.Screen) { renderTasks(s, tasks) },
		"history": func(s tui.Screen) { renderHistory(s, past) },
	}, nil)
}
