package restore

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/notice"
	"github.com/crawlbox/crawlbox/appliance/cluster/restore"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// newSwarm is one that nodes come into.
type newSwarm struct {
	nodes  []fleet.Node
	made   fleet.Objects
	labels map[string]string
	fails  error
}

func (s *newSwarm) Nodes(context.Context) ([]fleet.Node, error) { return s.nodes, nil }

func (s *newSwarm) Remake(_ context.Context, was fleet.Objects, _ servicespec.Queue) error {
	if s.fails == nil {
		s.made = was
	}
	return s.fails
}

func (s *newSwarm) SetLabels(_ context.Context, id string, set map[string]string, _ []string) error {
	s.labels[id] = set["zone"]
	return nil
}

func (s *newSwarm) SetAvailability(_ context.Context, id, availability string) error {
	s.labels[id] += availability
	return nil
}

// mirrors have no image but that of which nothing is asked.
type mirrors struct{ asked []string }

func (m *mirrors) CopyKept(_ context.Context, _ http.RoundTripper, host, pinned string, _ fleet.Platform) error {
	m.asked = append(m.asked, host+" "+pinned)
	return nil
}

// bed is a controller, and a worker of before at 127.0.0.1 that answers as answer says.
type bed struct {
	*Controller
	swarm   *newSwarm
	mirrors *mirrors
	telling sync.Mutex // it may be told as a member and as a manager of before at the same time
	told    []notice.Notice
	known   notice.Notice // where it answers that it knows as much
	code    int
}

const self = "127.0.0.9"

func newBed(t *testing.T) *bed {
	b := &bed{swarm: &newSwarm{labels: map[string]string{}}, mirrors: &mirrors{}, code: http.StatusNoContent}
	b.swarm.nodes = []fleet.Node{{ID: "m", Name: "h9", Addr: self, State: fleet.StateReady}}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(b.known)
			return
		}
		var n notice.Notice
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Error(err)
		}
		b.telling.Lock()
		b.told = append(b.told, n)
		b.telling.Unlock()
		if b.code != http.StatusNoContent {
			http.Error(w, notice.ErrOutdated.Error(), b.code)
			return
		}
		w.WriteHeader(b.code)
	}))
	t.Cleanup(srv.Close)
	list, err := member.Open(statetest.Open(t, t.TempDir()), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	image := "localhost:8003/s:1@sha256:" + strings.Repeat("0", 64)
	spec := json.RawMessage(`{"TaskTemplate":{"ContainerSpec":{"Image":"` + image + `"}}}`)
	other := json.RawMessage(`{"TaskTemplate":{"ContainerSpec":{"Image":"python:3@sha256:0"}}}`)
	at := netip.MustParseAddrPort(srv.Listener.Addr().String())
	b.Controller = New(Options{
		Pending: &restore.Pending{
			Begun:   time.Now(),
			Objects: fleet.Objects{Services: []fleet.Object{{Name: "s", Spec: spec}, {Name: "o", Spec: other}}},
			Nodes: []backup.Node{
				{Name: "h2", Addr: "127.0.0.1", Labels: map[string]string{"zone": "eu"}, Availability: "drain"},
				{Name: "h3", Addr: "127.0.0.3", Availability: fleet.AvailabilityActive},
			},
			Before: []netip.Addr{at.Addr(), netip.MustParseAddr(self)},
		},
		Notice:  notice.Notice{Epoch: 1, Managers: []netip.AddrPort{netip.MustParseAddrPort(self + ":7980")}},
		Members: list,
		Swarm:   b.swarm,
		Images:  b.mirrors,
		Client:  func(func(netip.AddrPort) bool) *http.Client { return srv.Client() },
		Self:    netip.MustParseAddr(self),
		Port:    at.Port(),
		Local:   "localhost:8003/",
		Log:     slog.New(slog.DiscardHandler),
	})
	b.Pending = b.Pending.In(t.TempDir())
	return b
}

// TestController tells the manager of before, and brings back what there was once a node is there.
func TestController(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.swarm.nodes = append(b.swarm.nodes, fleet.Node{ID: "w", Name: "h2", Addr: "127.0.0.1", State: fleet.StateReady})
	b.swarm.fails = errors.New("service s: Docker does not give secrets back")
	if err := b.round(t.Context()); !errors.Is(err, errPending) || b.Pending.Made ||
		!strings.Contains(b.Problem(), "service s") {
		t.Errorf("a round in which a secret is missing: %v, %q", err, b.Problem())
	}
	if len(b.told) != 1 || b.told[0].Epoch != 1 || len(b.Pending.Before) != 0 {
		t.Errorf("told was %+v; left are %v", b.told, b.Pending.Before)
	}
	b.swarm.fails = nil
	if err := b.round(t.Context()); err != nil || !b.Pending.Made || b.Problem() != "" {
		t.Errorf("the last round: %v, %q", err, b.Problem())
	}
	if len(b.swarm.made.Services) != 2 || b.swarm.labels["w"] != "eudrain" {
		t.Errorf("made was %+v, labels are %v", b.swarm.made, b.swarm.labels)
	}
	if len(b.mirrors.asked) != 1 || !strings.Contains(b.mirrors.asked[0], "localhost:8003/s:1@sha256:") {
		t.Errorf("images were asked for: %v", b.mirrors.asked)
	}
	if len(b.told) != 1 {
		t.Errorf("told was %+v", b.told)
	}
}

// TestController_Waits makes nothing as long as a member that has heard it is not in the swarm.
func TestController_Waits(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	m := member.Member{ID: "w", Remote: netip.MustParseAddr("127.0.0.1"), Until: time.Now().Add(time.Hour)}
	if err := b.Members.Put(m); err != nil {
		t.Fatal(err)
	}
	b.heard["w"] = true
	if err := b.round(t.Context()); !errors.Is(err, errPending) || b.Pending.Made {
		t.Errorf("it does not wait: %v", err)
	}
	b.started = b.started.Add(-mostWait - time.Second)
	if err := b.round(t.Context()); !errors.Is(err, errPending) || !b.Pending.Made {
		t.Errorf("it waits for ever: %v", err)
	}
	if joined, _ := b.Members.Get("w"); time.Since(joined.Joined) > time.Minute {
		t.Error("a node that is told would not be let in")
	}
}

// TestController_Outdated makes nothing of a backup that is older than the last restore.
func TestController_Outdated(t *testing.T) {
	t.Parallel()
	other := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.7:7980")}
	for name, known := range map[string]notice.Notice{
		"another manager of this epoch": {Epoch: 1, Managers: other},
		"a later epoch":                 {Epoch: 2, Managers: other},
	} {
		b := newBed(t)
		b.code, b.known = http.StatusConflict, known
		if err := b.round(t.Context()); err == nil || b.Pending.Made || !strings.Contains(b.Problem(), "10.0.0.7") {
			t.Errorf("%s: %v, %q", name, err, b.Problem())
		}
	}
}
