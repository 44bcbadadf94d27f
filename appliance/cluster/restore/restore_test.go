package restore

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
)

// swarm is that of a manager and a worker.
type swarm struct{}

func (swarm) Nodes(context.Context) ([]fleet.Node, error) {
	return []fleet.Node{
		{ID: "s1", Name: "h1", Addr: "10.0.0.1", Role: fleet.RoleManager},
		{ID: "s2", Name: "h2", Addr: "10.0.0.2", Role: fleet.RoleWorker},
	}, nil
}

func (swarm) Objects(context.Context) (fleet.Objects, error) {
	return fleet.Objects{Services: []fleet.Object{{ID: "i", Name: "s", Spec: json.RawMessage(`{}`)}}}, nil
}

// backedUp returns the backup of a cluster with two workers, one of which was removed.
func backedUp(t *testing.T) backup.Content {
	t.Helper()
	dir := t.TempDir()
	store := statetest.Open(t, dir)
	if _, err := pki.LoadOrCreateCA(store); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.OpenKey(state.NewDocument(store, state.Recovery)); err != nil {
		t.Fatal(err)
	}
	list, err := member.Open(store, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	worker := netip.MustParseAddr("10.0.0.2")
	for _, id := range []string{"stays", "removed"} {
		m := member.Member{ID: id, Role: fleet.RoleWorker, Remote: worker, Until: time.Now().Add(time.Hour)}
		if err := list.Put(m); err != nil {
			t.Fatal(err)
		}
	}
	nodes := []member.Node{{ID: "s2", Addr: worker, Role: fleet.RoleWorker, Ready: true}}
	if err := list.Bind("stays", "s2", worker, nodes); err != nil {
		t.Fatal(err)
	}
	if err := list.Remove("removed"); err != nil {
		t.Fatal(err)
	}
	cfg := configs.Default()
	cfg.DataDir, cfg.File = dir, filepath.Join(dir, "c.yaml")
	for name, text := range map[string]string{
		"c.yaml":         "advertise_addr: 10.0.0.1\nqueue:\n  port: 7892\n",
		"queue.password": "hush",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, _, err := backup.NewSource(swarm{}, cfg, "h1", "1.0").Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPrepare makes a bare machine one that starts as the manager of the cluster, in the next epoch.
func TestPrepare(t *testing.T) {
	t.Parallel()
	c := backedUp(t)
	cfg := configs.Default()
	cfg.DataDir = filepath.Join(t.TempDir(), "data")
	cfg.File = filepath.Join(cfg.DataDir, "etc", "crawlbox.yaml")
	if err := Prepare(cfg, "h9", c); err != nil {
		t.Fatal(err)
	}
	view, err := state.Look(state.Dir(cfg.DataDir))
	if err != nil || view.Commit.Epoch != 1 || view.Commit.Author != "h9" {
		t.Fatalf("%v, %+v", err, view)
	}
	for _, same := range []string{state.CA, state.Recovery} {
		if data, err := view.Document(same); err != nil || string(data) != string(c.Documents[same]) {
			t.Errorf("%s: %q, %v", same, data, err)
		}
	}
	store, err := state.Open(state.Dir(cfg.DataDir), state.Options{Files: state.Files(cfg.DataDir)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	list, err := member.Open(store, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := list.Get("stays")
	if !ok || len(m.Bound) != 0 || time.Since(m.Joined) > time.Minute || store.Epoch() != 1 {
		t.Errorf("the worker is %+v, in epoch %d", m, store.Epoch())
	}
	if _, ok := list.Get("removed"); ok || !list.WasRemoved("removed") {
		t.Error("a node that was removed may come back")
	}
	config, err := os.ReadFile(cfg.File)
	text := string(config)
	if err != nil || !strings.Contains(text, "port: 7892") || !strings.HasPrefix(text, "#advertise") {
		t.Errorf("the config is %q, %v", text, err)
	}
	if data, err := os.ReadFile(filepath.Join(cfg.DataDir, "queue.password")); err != nil || string(data) != "hush" {
		t.Errorf("the queue's password is %q, %v", data, err)
	}
	p, err := Load(cfg.DataDir)
	if err != nil || p == nil || len(p.Objects.Services) != 1 || len(p.Before) != 1 || p.Made {
		t.Fatalf("pending is %+v, %v", p, err)
	}
	if err := Prepare(cfg, "h9", c); err == nil || !strings.Contains(err.Error(), "without --restore") {
		t.Errorf("once more: %v", err)
	}
	if p.Told(netip.MustParseAddr("10.0.0.2")) || !p.Told(netip.MustParseAddr("10.0.0.1")) {
		t.Error("another manager was told than there was")
	}
	p.Made, p.Nodes = true, nil
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	if p, err := Load(cfg.DataDir); p != nil || err != nil {
		t.Errorf("something is left: %+v, %v", p, err)
	}
}

// TestPrepare_NotBare changes nothing on a machine that is a node.
func TestPrepare_NotBare(t *testing.T) {
	t.Parallel()
	c := backedUp(t)
	for _, file := range []string{"cluster.json", "node/identity.json", "state/newest"} {
		cfg := configs.Default()
		cfg.DataDir = t.TempDir()
		path := filepath.Join(cfg.DataDir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Prepare(cfg, "h9", c); err == nil || !strings.Contains(err.Error(), "is a node already") {
			t.Errorf("with %s: %v", file, err)
		}
		if _, err := os.Stat(filepath.Join(cfg.DataDir, pendingFile)); err == nil {
			t.Errorf("with %s: something is there now", file)
		}
	}
}
