package install

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/systemd/install"
)

// TestUninstall_Asks wants nothing to change, and what would end to be said, where nobody can be
// asked and --yes was not given.
func TestUninstall_Asks(t *testing.T) {
	t.Parallel()
	cluster := apitest.New(clitest.Now)
	socket, stop, err := clitest.Serve(cluster)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	dir := t.TempDir()
	a := command.New(command.Env{Stdin: strings.NewReader("y\n")}, "")
	a.Config = filepath.Join(dir, "crawlbox.yaml")
	if err := os.WriteFile(a.Config, []byte("data_dir: "+dir+"\nsocket: "+socket+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	machine := &install.Machine{Root: t.TempDir(), Command: func(context.Context, ...string) (string, error) {
		return "", errors.New("not asked for")
	}}
	cmd := &cobra.Command{Use: "uninstall"}
	cmd.SetContext(t.Context())
	err = uninstall(a, cmd, machine, wish{force: true})
	if !errors.As(err, new(*command.UsageError)) || cluster.Left() {
		t.Fatalf("it left: %v, %v", cluster.Left(), err)
	}
	const want = "h1 (10.77.0.11) is the only manager, and its cluster ends, with 4 services (batch, " +
		"broken, robot, spider); 3 nodes left alone (h2, h3, slave-frankfurt-4); nobody can be asked here"
	if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "say --yes to uninstall crawlbox") {
		t.Errorf("got %v, want %s", err, want)
	}
	cluster.BeWorker()
	err = uninstall(a, cmd, machine, wish{})
	if err == nil || !strings.Contains(err.Error(), "h2 leaves its cluster, and its tasks go to other nodes") {
		t.Errorf("a worker: %v", err)
	}
	stop()
	if err := uninstall(a, cmd, machine, wish{}); !errors.As(err, new(*command.UsageError)) {
		t.Errorf("a crawlbox that does not run: %v", err)
	}
}

func TestEndOf(t *testing.T) {
	t.Parallel()
	st := api.Status{Node: "h1", Addr: "10.0.0.1"}
	self := fleet.Node{Display: "h1", Role: fleet.RoleManager, Self: true}
	worker := fleet.Node{Display: "h2", Role: fleet.RoleWorker}
	down := fleet.Node{Display: "h3", Role: fleet.RoleManager, State: fleet.StateDown}
	manager := fleet.Node{Display: "h4", Role: fleet.RoleManager, State: fleet.StateReady}
	services := []fleet.Service{{Name: "a"}, {Name: "b"}}
	for want, c := range map[string]struct {
		nodes    []fleet.Node
		services []fleet.Service
	}{
		"h1 (10.0.0.1) is the only manager, and its cluster ends": {[]fleet.Node{self}, nil},
		"h1 (10.0.0.1) is the only manager, and its cluster ends, with 2 services (a, b); 1 node left alone (h2)": {
			[]fleet.Node{self, worker}, services,
		},
		"h1 leaves the cluster, which h4 goes on to manage, and its tasks go to other nodes": {
			[]fleet.Node{self, worker, down, manager}, services,
		},
	} {
		if got := endOf(st, c.nodes, c.services); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
