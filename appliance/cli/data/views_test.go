package data

import (
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func TestViews(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	images, lists := clitest.Must(c.Images(t.Context(), true))(t), clitest.Must(c.QueueLen(t.Context(), ""))(t)
	accounts := clitest.Must(c.RegistryAccounts(t.Context()))(t)
	held, dead := clitest.Must(c.QueueInFlight(t.Context(), "", 1))(t), clitest.Must(c.QueueDead(t.Context(), "", 9))(t)
	held.Items = append(held.Items, api.HeldItem{
		Key: "quotes:requests", Item: strings.Repeat("a long item\n", 9), Cut: true, Container: "conn-k3jd9f2a-1f",
		Task: "10.0.0.7:43210", Node: "h1", Since: clitest.Now.Add(-50 * time.Hour),
	})
	clitest.CheckViews(t, tui.NewFixed, map[string]func(tui.Screen){
		"accounts": func(s tui.Screen) { renderAccounts(s, accounts) },
		"images":   func(s tui.Screen) { renderImages(s, images) },
		"dead":     func(s tui.Screen) { renderDead(s, dead) },
		"held":     func(s tui.Screen) { renderHeld(s, held) },
		"queue":    func(s tui.Screen) { renderKeys(s, lists) },
		"unsafe":   func(s tui.Screen) { renderKeys(s, lists[1:]) },
		"watch":    func(s tui.Screen) { renderFlow(s, seen(true)) },
		"net":      func(s tui.Screen) { renderFlow(s, seen(false)) },
	}, nil)
}
