package backups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
)

// nodes keep copies in directories.
type nodes struct {
	t    *testing.T
	dir  string
	list []fleet.Node
	down map[string]error
}

func (n *nodes) shelf(node fleet.Node) *backup.Shelf {
	return backup.NewShelf(filepath.Join(n.dir, node.ID))
}

func (n *nodes) List(context.Context) (list []backup.Holder, err error) {
	for _, node := range n.list {
		h := backup.Holder{Node: node, Err: n.down[node.ID]}
		if h.Err == nil {
			h.Copies, err = n.shelf(node).List()
		}
		list = append(list, h)
	}
	return list, err
}

func (n *nodes) Keep(_ context.Context, to fleet.Node, sealed []byte) error {
	if err := os.MkdirAll(filepath.Join(n.dir, to.ID), 0o700); err != nil {
		return err
	}
	return n.shelf(to).Put(cluster, sealed)
}

// have returns which nodes have how many copies.
func (n *nodes) have() string {
	n.t.Helper()
	list, err := n.List(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	var text []string
	for _, h := range list {
		text = append(text, fmt.Sprint(h.Node.ID, len(h.Copies)))
	}
	return strings.Join(text, " ")
}

const cluster = "00000000000000000000000000000000000000000000000000000000000000aa"

// bed is a controller of some nodes, and what is to be backed up.
type bed struct {
	*Controller
	nodes *nodes
	now   backup.Content
}

func newBed(t *testing.T, want configs.Backup, ids ...string) *bed {
	b := &bed{nodes: &nodes{t: t, dir: t.TempDir(), down: map[string]error{}}}
	for _, id := range ids {
		b.nodes.list = append(b.nodes.list, fleet.Node{ID: id, Display: "host-" + id})
	}
	b.now = backup.Content{Cluster: cluster, Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	key := backup.NewKey()
	read := func(context.Context) (backup.Content, backup.Key, error) { return b.now, key, nil }
	b.Controller = New(read, b.nodes, want, slog.New(slog.DiscardHandler))
	return b
}

// change changes what is to be backed up.
func (b *bed) change() {
	b.now.Time = b.now.Time.Add(time.Minute)
	b.now.Objects.Secrets = append(slices.Clone(b.now.Objects.Secrets), "s")
}

// TestController_ThreeNodes has three of five nodes keep the newest, and the same ones again.
func TestController_ThreeNodes(t *testing.T) {
	t.Parallel()
	b := newBed(t, configs.Backup{}, "a", "b", "c", "d", "e")
	b.nodes.down["b"] = errors.New("it is down")
	step := func(want string) {
		t.Helper()
		if err := b.Now(t.Context()); err != nil {
			t.Error(err)
		}
		if got := b.nodes.have(); got != want {
			t.Errorf("the nodes have %q, want %q", got, want)
		}
	}
	step("a1 b0 c1 d1 e0")
	b.now.Time = b.now.Time.Add(time.Hour) // and nothing else
	step("a1 b0 c1 d1 e0")
	delete(b.nodes.down, "b")
	b.change()
	step("a2 b0 c2 d2 e0")
	b.nodes.down["c"] = errors.New("it is down")
	b.change()
	step("a3 b1 c0 d3 e0")
	for range 3 {
		b.change()
	}
	step("a3 b2 c0 d3 e0")
	if s := b.State(); s.Good.IsZero() || s.Why != "" || s.Nodes != 5 {
		t.Errorf("the state is %+v", s)
	}
}

// TestController_Fails tells what is wrong.
func TestController_Fails(t *testing.T) {
	t.Parallel()
	b := newBed(t, configs.Backup{})
	if err := b.Now(t.Context()); !errors.Is(err, ErrNowhere) || b.State().Why == "" {
		t.Errorf("without nodes: %v, %+v", err, b.State())
	}
	b = newBed(t, configs.Backup{}, "a")
	newer := b.now
	newer.Epoch = 1
	seal, err := backup.NewKey().Seal()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := newer.Sealed(seal)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.nodes.Keep(t.Context(), b.nodes.list[0], sealed); err != nil {
		t.Fatal(err)
	}
	err = b.Now(t.Context())
	if err == nil || !strings.Contains(err.Error(), "host-a") || !strings.Contains(err.Error(), "older epoch") {
		t.Errorf("of an epoch that is over: %v", err)
	}
	if s := b.State(); !s.Good.IsZero() || s.Nodes != 1 || s.Why == "" {
		t.Errorf("the state is %+v", s)
	}
}

// TestController_Places hands backups to the directory and the command of the config.
func TestController_Places(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, into := filepath.Join(dir, "out"), filepath.Join(dir, "into")
	b := newBed(t, configs.Backup{Dir: into, Command: "cat >> " + out + "; echo $CRAWLBOX_BACKUP >> " + out + ".names"})
	for range 2 {
		if err := b.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.change()
	if err := b.Now(t.Context()); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadFile(out + ".names")
	if err != nil || strings.Count(string(names), ".crawlbox-backup\n") != 2 {
		t.Errorf("the command was run for %q, %v", names, err)
	}
	kept, err := (&backup.Shelf{Dir: into}).List()
	if err != nil || len(kept) != 2 {
		t.Errorf("the directory has %v, %v", kept, err)
	}
	var both int64
	for _, c := range kept {
		both += c.Size
	}
	if info, err := os.Stat(out); err != nil || info.Size() != both {
		t.Errorf("the command got %v, %v; want %d bytes", info, err, both)
	}
	if s := b.State(); s.Good.IsZero() || len(s.Places) != 0 {
		t.Errorf("the state is %+v", s)
	}
}

// TestController_PlacesFail tells what the places of the config say, and tries again.
func TestController_PlacesFail(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBed(t, configs.Backup{Dir: file, Command: "echo no room there >&2; exit 3"}, "a")
	for range 2 {
		err := b.Now(t.Context())
		s := b.State()
		if err == nil || len(s.Places) != 2 || s.Good.IsZero() || s.Why != "" {
			t.Fatalf("%v; the state is %+v", err, s)
		}
		for i, want := range []string{"backup.dir (" + file + ")", "exit status 3 (no room there)"} {
			if !strings.Contains(s.Places[i], want) || strings.Contains(s.Places[i], "\n") {
				t.Errorf("%q has no %q", s.Places[i], want)
			}
		}
	}
	if got := b.nodes.have(); got != "a1" {
		t.Errorf("the nodes have %q", got)
	}
}

// TestFeed_EndsWithItsContext has a command go on for ever, with what it has started.
func TestFeed_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	started := filepath.Join(t.TempDir(), "started")
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(started); err == nil {
				cancel(errors.New("it is over"))
			}
		}
	}()
	err := feed(ctx, "sleep 600 & touch "+started+"; wait", backup.Header{}, []byte("x"))
	if err == nil || !strings.Contains(err.Error(), "it is over") {
		t.Errorf("it ended with %v", err)
	}
}
