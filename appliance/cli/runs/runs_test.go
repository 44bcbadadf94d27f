package runs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

// aRun is a cluster in which what is begun ends as the test says, once it was asked about it.
type aRun struct {
	*apitest.Cluster
	end  runs.Record
	errs []error // of the first questions about it

	mu    sync.Mutex
	asked int
	req   api.RunRequest // the last one
	wrote chan struct{}  // closed once its line was sent
	once  sync.Once
}

func newRun(end runs.Record) *aRun {
	return &aRun{Cluster: apitest.New(clitest.Now), end: end, wrote: make(chan struct{})}
}

func (c *aRun) Begin(_ context.Context, req api.RunRequest) (runs.Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.req = req
	return runs.Record{Spec: runs.Spec{ID: "begun"}, State: runs.Waiting}, nil
}

func (c *aRun) Run(ctx context.Context, id string) (runs.Record, error) {
	if id != "begun" {
		return c.Cluster.Run(ctx, id)
	}
	select { // its log is read before it ends
	case <-c.wrote:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked++; c.asked <= len(c.errs) {
		return runs.Record{}, c.errs[c.asked-1]
	}
	return c.end, nil
}

func (c *aRun) Logs(ctx context.Context, q api.LogQuery, fn func(api.LogLine) error) error {
	line := api.LogLine{Time: clitest.Now, Task: "begun.1", Node: "h1", Stream: "stdout", Text: "GET /"}
	if err := fn(line); err != nil {
		return err
	}
	c.once.Do(func() { close(c.wrote) })
	<-ctx.Done()
	return nil
}

// says runs a command against a cluster, and returns what it writes and its error.
func says(t *testing.T, ctx context.Context, b apitest.Backend, of func(*command.App) *cobra.Command,
	args ...string) (stdout, stderr string, err error) {
	t.Helper()
	socket, stop, err := clitest.ServeHandler(apitest.Handler(b, nil, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var out, errs bytes.Buffer
	a := &command.App{Socket: socket, Env: command.Env{
		Stdout: &out, Stderr: &errs, Now: func() time.Time { return clitest.Now },
	}}
	cmd := of(a)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}

// TestRun_Wait: who waits for a run sees its log, and gets its exit code.
func TestRun_Wait(t *testing.T) {
	t.Parallel()
	ended := func(state string, code int, why string) runs.Record {
		r := runs.Record{Spec: runs.Spec{ID: "begun"}, State: state, ExitCode: code, Why: why}
		r.Began, r.Ended = clitest.Now, clitest.Now.Add(90*time.Second)
		return r
	}
	did := ended(runs.Done, 0, "")
	did.Items, did.Errors = new(int64(1)), new(int64(2))
	for _, c := range []struct {
		name string
		end  runs.Record
		code int
		says string
	}{
		{"done", did, 0, "run begun is done after 1m30s, 1 item, 2 errors"},
		{"failed", ended(runs.Failed, 3, "exit code 3 on h1"), 3, "run begun failed after 1m30s: exit code 3 on h1"},
		{"timed out", ended(runs.TimedOut, 124, "it had not ended after 1m0s"), 124, "begun timed out after"},
		{"stopped", ended(runs.Stopped, 143, "stopped by ann"), 143, "begun was stopped after 1m30s: stopped by ann"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, said, err := says(t, t.Context(), newRun(c.end), RunCmd, "spider", "--wait")
			var code command.ExitError
			if errors.As(err, &code); int(code) != c.code || (err == nil) != (c.code == 0) {
				t.Errorf("got %v, want exit code %d", err, c.code)
			}
			if !strings.Contains(out, "GET /") || !strings.Contains(said, c.says) {
				t.Errorf("it says %q, %q; want %q", out, said, c.says)
			}
		})
		t.Run(c.name+", as JSON", func(t *testing.T) {
			t.Parallel()
			b := newRun(c.end)
			close(b.wrote) // nobody reads its log
			out, said, err := says(t, t.Context(), b, RunCmd, "spider", "--wait", "--json")
			var code command.ExitError
			var is runs.Record
			if errors.As(err, &code); int(code) != c.code || json.Unmarshal([]byte(out), &is) != nil || said != "" ||
				is.State != c.end.State {
				t.Errorf("got %v of %q, %q", err, out, said)
			}
		})
	}
}

// TestRun_WaitFor: a crawlbox that is away for a moment is waited for; a run that is gone, or a user who is, is not.
func TestRun_WaitFor(t *testing.T) {
	t.Parallel()
	away := &api.Error{Code: api.CodeUnavailable, Message: "it starts"}
	t.Run("away", func(t *testing.T) {
		t.Parallel()
		b := newRun(runs.Record{Spec: runs.Spec{ID: "begun"}, State: runs.Failed, ExitCode: 4, Ended: clitest.Now})
		b.errs = []error{away}
		_, _, err := says(t, t.Context(), b, RunCmd, "spider", "--wait")
		if !errors.Is(err, command.ExitError(4)) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("removed", func(t *testing.T) {
		t.Parallel()
		b := newRun(runs.Record{})
		b.errs = []error{api.NotFound("unknown run")}
		_, _, err := says(t, t.Context(), b, RunCmd, "spider", "--wait")
		if err == nil || !strings.Contains(err.Error(), "unknown run") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		b := newRun(runs.Record{State: runs.Running})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-b.wrote
			cancel()
		}()
		_, _, err := says(t, ctx, b, RunCmd, "spider", "--wait")
		if !errors.Is(err, command.ErrInterrupted) || !strings.Contains(err.Error(), "crawlbox run stop begun") {
			t.Errorf("got %v", err)
		}
	})
}

// TestRun_Request: what is asked for is what the flags say.
func TestRun_Request(t *testing.T) {
	t.Setenv("DEPTH", "7")
	for _, c := range []struct {
		args []string
		want api.RunRequest
	}{
		{[]string{"spider"}, api.RunRequest{Service: "spider", Replicas: 1, Retries: 2}},
		{[]string{"python:3.12"}, api.RunRequest{Image: "python:3.12", Replicas: 1, Retries: 2}},
		{[]string{"nobody"}, api.RunRequest{Service: "nobody", Replicas: 1, Retries: 2}}, // refused by the manager
		{
			[]string{
				"spider", "-a", "site=a=b", "--arg", "x=", "-e", "DEPTH", "-e", "A=1", "--replicas", "3",
				"--retries", "0", "--timeout", "1d", "--name", "n", "--", "scrapy", "crawl", "--nolog",
			},
			api.RunRequest{
				Service: "spider", Name: "n", Args: map[string]string{"site": "a=b", "x": ""},
				Env: map[string]string{"DEPTH": "7", "A": "1"}, Command: []string{"scrapy", "crawl", "--nolog"},
				Replicas: 3, Timeout: 24 * time.Hour,
			},
		},
	} {
		b := newRun(runs.Record{})
		out, _, err := says(t, t.Context(), b, RunCmd, c.args...)
		if err != nil || !strings.Contains(out, "begun has begun") {
			t.Errorf("%q: %q, %v", c.args, out, err)
		}
		got := b.req
		same := maps.Equal(got.Args, c.want.Args) && maps.Equal(got.Env, c.want.Env) &&
			slices.Equal(got.Command, c.want.Command)
		if got.Args, got.Env, got.Command = c.want.Args, c.want.Env, c.want.Command; !same ||
			fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%q: got %+v, want %+v", c.args, b.req, c.want)
		}
	}
}

// TestRefused: what is sure to be wrong is said before anything is asked.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of   func(*command.App) *cobra.Command
		args string
		want string
	}{
		{RunCmd, "", "a service, an image or a directory"},
		{RunCmd, "a b", "a service, an image or a directory"},
		{RunCmd, "spider --", "there is no command behind --"},
		{RunCmd, "-- ls", "a service, an image or a directory"},
		{RunCmd, "spider -a site", "--arg wants key=value"},
		{RunCmd, "spider -a =x", "--arg wants key=value"},
		{RunCmd, "spider -a 1=x", `argument "1"`},
		{RunCmd, "spider -e =x", "env"},
		{RunCmd, "spider --replicas 0", "--replicas is 0; it is a number from 1"},
		{RunCmd, "spider --retries 5", "--retries is 5; it is a number from 0 to 4"},
		{RunCmd, "spider --retries -1", "--retries is -1"},
		{RunCmd, "spider --name a/b", "--name: "},
		{RunCmd, "spider --timeout soon", "timeout"},
		{RunCmd, "show", "one run"},
		{RunCmd, "stop", "a run"},
		{RunCmd, "rm", "a run"},
		{RerunCmd, "", "one run"},
		{RerunCmd, "a b", "one run"},
		{RunsCmd, "a b", "one service"},
		{RunsCmd, "-n 0", "--number is 0; it is 1 or more"},
		{RunsCmd, "--since yesterday", `--since is "yesterday"`},
	} {
		_, _, err := says(t, t.Context(), apitest.New(clitest.Now), c.of, strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.args, err, c.want)
		}
	}
}

// TestRuns lists, shows, stops, repeats and removes runs of a cluster, one after the other.
func TestRuns(t *testing.T) {
	t.Parallel()
	b := apitest.New(clitest.Now)
	for _, c := range []struct {
		of   func(*command.App) *cobra.Command
		args string
		want string // on stdout; in the error, behind !
	}{
		{RunsCmd, "", "spider-3"},
		{RunsCmd, "--failed", "spider-2"},
		{RunsCmd, "nobody", "no run of nobody is known"},
		{RunsCmd, "nobody --json", "[]"},
		{RunsCmd, "--since 5m -n 1 --json", `"id": "spider-3"`},
		{RunCmd, "show spider-1", "12400 items, 20000 pages, 31 errors"},
		{RunCmd, "show spider-2 --json", `"API_TOKEN": "********"`},
		{RunCmd, "show nothing", `!unknown run "nothing"`},
		{RunCmd, "stop nothing", `!unknown run "nothing"`},
		{RunCmd, "stop spider-1", "!run spider-1 has ended"},
		{RunCmd, "stop spider-3", "spider-3 is being stopped"},
		{RunCmd, "stop spider-3", "!run spider-3 has ended"},
		{RerunCmd, "nothing", `!unknown run "nothing"`},
		{RerunCmd, "spider-2", "begun has begun"},
		{RunCmd, "rm spider-2 spider-1 --json", `["spider-2","spider-1"]`},
		{RunCmd, "rm spider-2", `!unknown run "spider-2"`},
	} {
		out, said, err := says(t, t.Context(), b, c.of, strings.Fields(c.args)...)
		text, fails := strings.CutPrefix(c.want, "!")
		got := out
		if fails && err != nil {
			got = err.Error()
		}
		squeeze := strings.NewReplacer(" ", "", "\n", "")
		if fails != (err != nil) || !strings.Contains(squeeze.Replace(got), squeeze.Replace(text)) {
			t.Errorf("%s: got %q, %q, %v; want %q", c.args, out, said, err, c.want)
		}
	}
}
