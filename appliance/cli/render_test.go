package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// views are all tables and blocks, drawn from the cluster of the tests.
func views(t *testing.T) map[string]func(screen) {
	t.Helper()
	a := &app{env: Env{Now: func() time.Time { return now }}}
	c, worker := apitest.New(now), apitest.New(now)
	worker.BeWorker()
	ctx := context.Background()
	status, nodes, services := must(c.Status(ctx))(t), must(c.Nodes(ctx))(t), must(c.Services(ctx))(t)
	tasks := must(c.Tasks(ctx, api.TaskQuery{All: true}))(t)
	images, lists, workerStatus := must(c.Images(ctx, true))(t), must(c.QueueLen(ctx, ""))(t), must(worker.Status(ctx))(t)
	tokens, accounts := must(c.Tokens(ctx))(t), must(c.RegistryAccounts(ctx))(t)
	past := must(c.History(ctx, "spider"))(t)
	return map[string]func(screen){
		"tokens":        func(s screen) { a.renderTokens(s, tokens) },
		"accounts":      func(s screen) { a.renderAccounts(s, accounts) },
		"status":        func(s screen) { a.renderStatus(s, status) },
		"status-worker": func(s screen) { a.renderStatus(s, workerStatus) },
		"nodes":         func(s screen) { renderNodes(s, nodes) },
		"ls":            func(s screen) { a.renderServices(s, services) },
		"ps":            func(s screen) { a.renderTasks(s, tasks) },
		"images":        func(s screen) { a.renderImages(s, images) },
		"history":       func(s screen) { a.renderHistory(s, past) },
		"queue":         func(s screen) { renderLists(s, lists) },
		"doctor":        func(s screen) { renderReport(s, someReport) },
		"doctor-well":   func(s screen) { renderReport(s, doctor.NewReport("h1", "manager", someReport.Findings[:1])) },
	}
}

// someReport has a finding of each kind.
var someReport = doctor.NewReport("h2", "worker", []doctor.Finding{
	{Check: "docker", Level: doctor.OK, Text: "Docker Engine 20.10.24+dfsg1, API 1.41"},
	{Check: "dns", Level: doctor.Warn, Text: "/etc/resolv.conf names no server: images of other registries and base images of builds can't be pulled by this machine",
		Remedy: "give it a name server if it shall have the Internet; nodes do without"},
	{Check: "firewall", Level: doctor.Bad, Text: "other nodes are kept out of 7946/tcp+udp, 7980/tcp by nftables (chain input of table inet filter, by its policy)",
		Remedy: "open them; the rule is gone after a reboot unless it also stands in /etc/nftables.conf", Commands: []string{
			"nft insert rule inet filter input ip saddr 10.99.0.0/16 tcp dport '{ 7946, 7980 }' accept",
			"nft insert rule inet filter input ip saddr 10.99.0.0/16 udp dport '{ 7946 }' accept",
		}},
})

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestViews_Golden(t *testing.T) {
	t.Parallel()
	for name, draw := range views(t) {
		for kind, s := range map[string]screen{
			"80":    {width: 80},
			"pipe":  {},
			"color": {width: 80, colors: 256},
		} {
			var out bytes.Buffer
			s.w = &out
			draw(s)
			golden(t, filepath.Join("testdata", name+"."+kind+".golden"), out.String())
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is drawn (go test -update writes it):\n%s", path, got)
	}
}

func TestViews_NeverWrap(t *testing.T) {
	t.Parallel()
	for name, draw := range views(t) {
		for width := 20; width <= 200; width++ {
			var out bytes.Buffer
			draw(screen{w: &out, width: width})
			for line := range strings.Lines(out.String()) {
				if name == "doctor" && strings.HasPrefix(line, "      nft ") {
					continue // a command stays in one piece, to be copied
				}
				longWord := strings.Contains(line, "/etc/resolv.conf") || strings.Contains(line, "/etc/nftables.conf") || strings.Contains(line, "localhost:8003/broken") || strings.Contains(line, "slave-frankfurt")
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width && !((name == "status" || name == "doctor" && width < 24) && longWord) {
					t.Errorf("%s: a line of %d in %d columns: %q", name, n, width, line)
				}
			}
		}
	}
}

func TestViews_SameWithoutColor(t *testing.T) {
	t.Parallel()
	codes := regexp.MustCompile("\x1b\\[[0-9;]*m")
	for name, draw := range views(t) {
		var colored, bare bytes.Buffer
		draw(screen{w: &colored, width: 80, colors: 256})
		draw(screen{w: &bare, width: 80})
		if codes.ReplaceAllString(colored.String(), "") != bare.String() {
			t.Errorf("%s differs in more than colours", name)
		}
	}
}

func TestViews_Empty(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	renderNodes(screen{w: &out, width: 80}, nil)
	if got := out.String(); got != "NAME  ROLE  STATE  ADDRESS  DISK  DOCKER  CRAWLBOX  TASKS\n" {
		t.Errorf("got %q", got)
	}
}

func TestNodeCells(t *testing.T) {
	t.Parallel()
	n := fleet.Node{Engine: "29.1.0", Agent: &fleet.Agent{State: "alive", Version: "0.1.0", Docker: "stopped", FreeDisk: 1000}}
	disk, docker, agent := agentCells(n)
	if got := disk.text + " " + docker.text + " " + agent.text; got != "1kB stopped 0.1.0" {
		t.Errorf("got %s", got)
	}
}

func TestServiceState(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		service fleet.Service
		want    string
	}{
		{fleet.Service{Desired: 3, Running: 3}, "running"},
		{fleet.Service{Desired: 3, Running: 1, Complete: 2}, "running"},
		{fleet.Service{Desired: 3, Complete: 3}, "complete"},
		{fleet.Service{Desired: 3, Running: 1}, "starting"},
		{fleet.Service{Desired: 3, Running: 1, Failed: 2}, "2 failing"},
		{fleet.Service{Desired: 1, Running: 1, Failed: 2}, "running"},
		{fleet.Service{Running: 1}, "stopping"},
		{fleet.Service{Failed: 1}, "stopped"},
		{fleet.Service{Desired: 3, Running: 3, Update: "updating"}, "updating"},
		{fleet.Service{Desired: 3, Pending: "3 spider:2"}, "updating"},
		{fleet.Service{Desired: 3, Running: 3, Update: "paused"}, "update paused"},
		{fleet.Service{Desired: 3, Running: 3, Update: "rollback_completed"}, "rolled back"},
		{fleet.Service{Desired: 3, Running: 3, Update: "completed"}, "running"},
	} {
		if got := serviceState(tt.service).text; got != tt.want {
			t.Errorf("%+v: got %s, want %s", tt.service, got, tt.want)
		}
	}
}

func TestTaskState(t *testing.T) {
	t.Parallel()
	a := &app{env: Env{Now: func() time.Time { return now }}}
	for _, tt := range []struct{ state, desired, want string }{
		{fleet.TaskRunning, fleet.TaskRunning, "running 5m"},
		{fleet.TaskRunning, fleet.TaskShutdown, "stopping 5m"},
		{"preparing", fleet.TaskRunning, "preparing 5m"},
		{fleet.TaskShutdown, fleet.TaskShutdown, "shutdown 5m ago"},
		{fleet.TaskFailed, fleet.TaskShutdown, "failed 5m ago"},
	} {
		task := fleet.Task{State: tt.state, Desired: tt.desired, Since: now.Add(-5 * time.Minute)}
		if got := a.taskState(task).text; got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59 * time.Minute: "59m",
		time.Hour: "1h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 400 * 24 * time.Hour: "400d",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
	a := &app{env: Env{Now: func() time.Time { return now }}}
	if got := a.since(time.Time{}); got != "-" {
		t.Errorf("never: got %s", got)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text    string
		n       int
		atStart bool
		want    string
	}{
		{"spider", 6, false, "spider"}, {"spider", 5, false, "spid…"}, {"spider", 5, true, "…ider"},
		{"spinne-für", 10, false, "spinne-für"}, {"spider", 1, true, "…"}, {"spider", 0, false, ""},
	} {
		if got := cut(tt.text, tt.n, tt.atStart); got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
}

func TestTook(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(took(0), " ", took(12340*time.Millisecond), " ", took(72300*time.Millisecond))
	if got != "0.0s 12.3s 1m12s" {
		t.Errorf("got %s", got)
	}
}
