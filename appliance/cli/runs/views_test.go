package runs

import (
	"os"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // times in golden files are the same everywhere
	os.Exit(m.Run())
}

func TestViews(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	list := clitest.Must(c.Runs(t.Context(), api.RunQuery{}))(t)
	live, bad := clitest.Must(c.Run(t.Context(), "spider-3"))(t), clitest.Must(c.Run(t.Context(), "spider-2"))(t)
	good := clitest.Must(c.Run(t.Context(), "spider-1"))(t)
	good.Usual = &runs.Usual{Runs: runs.Compared, Took: 115 * time.Minute, Counts: runs.Counts{
		Items: new(int64(12000)), Pages: new(int64(20000)), Errors: new(int64(0)),
	}}
	live.Usual = good.Usual
	clitest.CheckViews(t, tui.NewFixed, map[string]func(tui.Screen){
		"runs":      func(s tui.Screen) { renderRuns(s, list) },
		"show_live": func(s tui.Screen) { renderRun(s, live) },
		"show_bad":  func(s tui.Screen) { renderRun(s, bad) },
		"show_good": func(s tui.Screen) { renderRun(s, good) },
	}, func(view, _ string, _ int) bool { return view != "runs" }) // facts and lines of logs wrap
}
