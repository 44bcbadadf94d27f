package data

import (
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func TestViews(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	images, lists := clitest.Must(c.Images(t.Context(), true))(t), clitest.Must(c.QueueLen(t.Context(), ""))(t)
	accounts := clitest.Must(c.RegistryAccounts(t.Context()))(t)
	clitest.CheckViews(t, tui.NewFixed, map[string]func(tui.Screen){
		"accounts": func(s tui.Screen) { renderAccounts(s, accounts) },
		"images":   func(s tui.Screen) { renderImages(s, images) },
		"queue":    func(s tui.Screen) { renderKeys(s, lists) },
		"watch":    func(s tui.Screen) { renderFlow(s, seen(true)) },
		"net":      func(s tui.Screen) { renderFlow(s, seen(false)) },
	}, nil)
}
