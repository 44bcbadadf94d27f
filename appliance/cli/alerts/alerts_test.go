package alerts

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

// says runs crawlbox alerts against a cluster.
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

func TestLs(t *testing.T) {
	t.Parallel()
	out, err := says(t, apitest.New(clitest.Now), "ls")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"node-down", "node h3 is down", "told", "well again", "failing for 1h", "2 waiting", "connection refused",
		"ready", "waits for a channel", "can't be used", "/etc/crawlbox/pager: no such file",
		"dead man's switch: called 1m ago", "1 message could not be told",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
}

func TestTest(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	out, err := says(t, c, "test")
	if err == nil || err.Error() != "1 of 2 channels did not take the test" ||
		out != "mail: connection refused\nops: the test was taken\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if out, err = says(t, c, "test", "ops"); err != nil || out != "ops: the test was taken\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err = says(t, c, "test", "nobody"); err == nil || !strings.Contains(err.Error(), "unknown channel") {
		t.Errorf("got %v", err)
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	c := apitest.New(clitest.Now)
	out, err := says(t, c, "silence", "h3", "--for", "1d", "--reason", "new disk")
	if err != nil || !strings.HasPrefix(out, "alerts of h3 are not told for 24h; ") {
		t.Errorf("got %q, %v", out, err)
	}
	out, err = says(t, c, "ls", "--json")
	var v api.AlertsSeen
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	if err != nil || len(v.Silences) != 1 || v.Silences[0].Reason != "new disk" || !v.Alerts[0].Silenced {
		t.Errorf("got %+v, %v", v, err)
	}
	if out, err = says(t, c, "ls"); err != nil || !strings.Contains(out, "by root@h1: new disk") {
		t.Errorf("got %s, %v", out, err)
	}
	if _, err = says(t, c, "unsilence", "h3"); err != nil {
		t.Error(err)
	}
	if _, err = says(t, c, "unsilence", "h3"); err == nil || !strings.Contains(err.Error(), "there is no silence") {
		t.Errorf("got %v", err)
	}
}
