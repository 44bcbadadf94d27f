package schedules

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// says runs crawlbox schedule against a cluster.
func says(t *testing.T, c *apitest.Cluster, args ...string) (string, error) {
	t.Helper()
	socket, stop, err := clitest.ServeHandler(apitest.Handler(c, nil, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var out bytes.Buffer
	a := &command.App{Socket: socket, Env: command.Env{
		Now: func() time.Time { return clitest.Now }, Stdout: &out, Stderr: &out,
	}}
	cmd := Cmd(a)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestAdd(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	out, err := says(t, c, "add", "often", "spider", "--cron", "@every 15m", "-a", "site=shop", "--timeout", "14m",
		"--overlap", "wait", "--", "scrapy", "crawl", "q")
	if err != nil || !strings.HasPrefix(out, "schedule often is there; its next run begins ") {
		t.Fatalf("got %q, %v", out, err)
	}
	if _, err := says(t, c, "add", "often", "spider", "--cron", "@daily"); err == nil ||
		!strings.Contains(err.Error(), "--replace changes it") {
		t.Errorf("got %v", err)
	}
	out, err = says(t, c, "ls", "--json")
	var list []api.Schedule
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Name != "often" {
			continue
		}
		if e.Args["site"] != "shop" || e.Timeout.Minutes() != 14 || len(e.Command) != 3 || len(e.Coming) != 10 {
			t.Errorf("got %+v, %v", e, err)
		}
		return
	}
	t.Errorf("it is not in %s", out)
}

func TestAdd_Wrong(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	for want, args := range map[string]string{
		`required flag(s) "cron"`:       "add a spider",
		"a name and a service":          "add a --cron @daily",
		"there is no command behind --": "add a spider --cron @daily --",
		"unknown service":               "add a nobody --cron @daily",
		"--arg wants key=value":         "add a spider --cron @daily -a x",
		"cannot name a schedule":        "add a.b spider --cron @daily",
	} {
		if _, err := says(t, c, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
}

func TestLs(t *testing.T) {
	t.Parallel()
	out, err := says(t, apitest.New(clitest.Now), "ls")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"failing", `unknown service "spider"`, "paused", "0 3 * * *", " (in ", "skipped ", "run nightly-1 had not ended",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	out, err := says(t, c, "next", "nightly")
	if n := strings.Count(out, "03:00:00 +0"); err != nil || n != 10 || !strings.Contains(out, "later") {
		t.Errorf("%d times in\n%s%v", n, out, err)
	}
	if out, err = says(t, c, "next"); err != nil || strings.Count(out, "\n") != 11 || strings.Contains(out, "weekly") {
		t.Errorf("of all: %s%v", out, err)
	}
	if out, err = says(t, c, "next", "weekly"); err != nil ||
		!strings.HasPrefix(out, "crawlbox: weekly is paused; `crawlbox schedule resume weekly` ends that\n") {
		t.Errorf("of a paused one: %s%v", out, err)
	}
	if _, err = says(t, c, "next", "nothing"); err == nil || !strings.Contains(err.Error(), "unknown schedule") {
		t.Errorf("got %v", err)
	}
}

func TestPauseResumeRm(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	for _, step := range []struct{ args, want string }{
		{"pause nightly", "nightly is paused\n"},
		{"resume weekly", "weekly goes on with its next planned time\n"},
		{"rm nightly", "nightly is removed\n"},
	} {
		if out, err := says(t, c, strings.Fields(step.args)...); err != nil || out != step.want {
			t.Errorf("%s: %q, %v", step.args, out, err)
		}
	}
	if _, err := says(t, c, "rm", "nightly"); err == nil || !strings.Contains(err.Error(), "unknown schedule") {
		t.Errorf("got %v", err)
	}
}

func TestFlagged(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"at_most is 0": "--at-most is 0", "cron is x": "--cron is x", `argument "x": no`: `argument "x": no`,
	} {
		if got := flagged(text); got != want {
			t.Errorf("got %q", got)
		}
	}
}
