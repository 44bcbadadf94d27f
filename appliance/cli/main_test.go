package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"crawlbox": crawlbox})
}

// crawlbox does what the program's main does, at a moment that stands still.
func crawlbox() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop)
	env := command.Env{
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
		Now:    func() time.Time { return clitest.Now },
	}
	os.Exit(execute(ctx, env, os.Args[1:]))
}

// TestScripts runs the command line against a cluster in memory, which is
// served over a unix socket as a node serves its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *clitest.Update,
		Setup:               setUp,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cluster": clusterCmd,
			"exits":   exitsCmd,
		},
	})
}

type clusterKey struct{}

func setUp(env *testscript.Env) error {
	// A program to upgrade to.
	self, err := os.Executable()
	if err == nil {
		err = errors.Join(os.Mkdir(filepath.Join(env.WorkDir, "new"), 0o755),
			os.Symlink(self, filepath.Join(env.WorkDir, "new", "crawlbox")))
	}
	if err != nil {
		return err
	}
	cluster := apitest.New(clitest.Now)
	socket, stop, err := clitest.Serve(cluster)
	if err != nil {
		return err
	}
	env.Defer(stop)
	env.Values[clusterKey{}] = cluster
	env.Setenv("CRAWLBOX_SOCKET", socket)
	env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector sleeps a second at each exit
	return nil
}

// clusterCmd changes the cluster of a script: cluster hold SERVICE, cluster
// worker; or waits until it holds: cluster await WHAT.
func clusterCmd(ts *testscript.TestScript, neg bool, args []string) {
	cluster := ts.Value(clusterKey{}).(*apitest.Cluster)
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: cluster hold SERVICE | worker | await WHAT")
	case args[0] == "worker":
		cluster.BeWorker()
	case args[0] == "hold" && len(args) == 2:
		cluster.Hold(args[1])
	case args[0] == "await" && len(args) == 2:
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		what, err := cluster.AwaitHeld(ctx)
		ts.Check(err)
		if what != args[1] {
			ts.Fatalf("cluster holds %s, not %s", what, args[1])
		}
	default:
		ts.Fatalf("cluster: unknown %v", args)
	}
}

// exitsCmd checks the exit code of a command, and that one which fails says so
// in one line: exits CODE crawlbox …
func exitsCmd(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := map[bool]string{true: "0", false: "1"}[err == nil]
	if e, ok := err.(interface{ ExitCode() int }); ok {
		code = map[int]string{1: "1", 2: "2"}[e.ExitCode()]
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
	said := ts.ReadFile("stderr")
	if code != "0" && (!strings.HasPrefix(said, "crawlbox: ") || strings.Count(said, "\n") != 1) {
		ts.Fatalf("want one line on stderr that begins with crawlbox:, got %q", said)
	}
}
