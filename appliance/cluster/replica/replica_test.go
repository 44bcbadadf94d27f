package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// managers are those of a swarm, some of which do not answer.
type managers struct {
	mu    sync.Mutex
	self  string
	nodes []fleet.Node
	away  map[string]bool
	kept  map[string]int // commits, by Swarm's ID
	told  chan string
}

func swarmOf(ids ...string) *managers {
	m := &managers{self: "m1", away: map[string]bool{}, kept: map[string]int{}, told: make(chan string, 99)}
	for i, id := range ids {
		role := fleet.RoleManager
		if strings.HasPrefix(id, "w") {
			role = fleet.RoleWorker
		}
		m.nodes = append(m.nodes, fleet.Node{
			ID:      id,
			Name:    id,
			Display: id,
			Role:    role,
			Addr:    fmt.Sprintf("10.0.0.%d", i+1),
		})
	}
	return m
}

func (m *managers) Nodes(context.Context) ([]fleet.Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.nodes), nil
}

func (m *managers) Self(context.Context) (string, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := func(n fleet.Node) bool { return n.ID == m.self && n.Role == fleet.RoleManager }
	return m.self, slices.ContainsFunc(m.nodes, is), nil
}

func (m *managers) PutCommit(_ context.Context, n fleet.Node, _ state.Version, _ []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away[n.ID] {
		return errors.New("nothing listens")
	}
	m.kept[n.ID]++
	return nil
}

func (m *managers) Commit(_ context.Context, n fleet.Node, _ state.Version) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away[n.ID] || m.kept[n.ID] == 0 {
		return nil, state.ErrNotFound
	}
	return []byte(n.ID), nil
}

func (m *managers) TellCommit(_ context.Context, n fleet.Node) error {
	m.told <- n.ID
	return nil
}

// setOf opens a state in which replicas are on the list.
func setOf(t *testing.T, m *managers, replicas ...string) *Set {
	t.Helper()
	s := New(nil, m, m, Has{Images: func() bool { return true }}, slog.New(slog.DiscardHandler))
	store, err := state.Open(state.Dir(t.TempDir()), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := s.Use(store); err != nil {
		t.Fatal(err)
	}
	err = s.list.Update("test", func(*[]Replica) (*[]Replica, error) {
		list := []Replica{}
		for _, id := range replicas {
			list = append(list, Replica{Node: id, Name: id})
		}
		return &list, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPut wants a majority of the managers on the list that Swarm still has as such.
func TestPut(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		swarm, list, away string
		few               bool
	}{
		"alone":                           {"m1 w1", "m1", "", false},
		"nobody is on the list yet":       {"m1 m2 m3", "", "m2 m3", false},
		"others are of an older version":  {"m1 m2 m3", "m1", "m2 m3", false},
		"all of three":                    {"m1 m2 m3", "m1 m2 m3", "", false},
		"two of three":                    {"m1 m2 m3", "m1 m2 m3", "m2", false},
		"one of three":                    {"m1 m2 m3", "m1 m2 m3", "m2 m3", true},
		"one of two":                      {"m1 m2", "m1 m2", "m2", true},
		"two of five":                     {"m1 m2 m3 m4 m5", "m1 m2 m3 m4 m5", "m2 m3 m4", true},
		"three of five":                   {"m1 m2 m3 m4 m5", "m1 m2 m3 m4 m5", "m2 m3", false},
		"one was demoted":                 {"m1 w2", "m1 w2", "w2", false},
		"one is no longer of the swarm":   {"m1", "m1 m2", "", false},
		"a new one, with all the others":  {"m1 m2 m3", "m2 m3", "", false},
		"a new one, with one of two":      {"m1 m2 m3", "m2 m3", "m3", true},
		"a new one, with its only other":  {"m1 m2", "m2", "", false},
		"a new one, without its only one": {"m1 m2", "m2", "m2", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := swarmOf(strings.Fields(tt.swarm)...)
			for _, id := range strings.Fields(tt.away) {
				m.away[id] = true
			}
			err := setOf(t, m, strings.Fields(tt.list)...).Put(t.Context(), "v", []byte("x"))
			if errors.Is(err, ErrTooFew) != tt.few || err != nil && !tt.few {
				t.Errorf("got %v", err)
			}
			if tt.few && (!strings.Contains(err.Error(), "nothing listens") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("it does not say why: %v", err)
			}
		})
	}
}

// TestLook has a manager put itself on the list, and take those off it that Swarm has no longer.
func TestLook(t *testing.T) {
	t.Parallel()
	m := swarmOf("m1", "m2", "w3")
	s := setOf(t, m, "m2", "w3", "gone")
	for range 2 { // the second changes nothing
		if err := s.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		list := s.List()
		if len(list) != 2 || !has(list, "m1") || !has(list, "m2") {
			t.Fatalf("on the list are %+v", list)
		}
		own := list[slices.IndexFunc(list, func(r Replica) bool { return r.Node == "m1" })]
		if own.Addr.String() != "10.0.0.1" || own.Since.IsZero() || !own.Full {
			t.Errorf("its own place is %+v", own)
		}
	}
	m.mu.Lock()
	m.nodes[0].Addr = "10.0.0.9" // it has another address
	m.mu.Unlock()
	if err := s.look(t.Context()); err != nil || !strings.Contains(fmt.Sprint(s.List()), "10.0.0.9") {
		t.Errorf("after a move: %v, %v", s.List(), err)
	}
	m.mu.Lock()
	m.nodes[0].Role = fleet.RoleWorker
	m.mu.Unlock()
	if err := s.look(t.Context()); !errors.Is(err, ErrDemoted) || !has(s.List(), "m1") {
		t.Errorf("once demoted: %v, %v", err, s.List())
	}
}

// TestGet asks one manager after the other, on the list or not.
func TestGet(t *testing.T) {
	t.Parallel()
	m := swarmOf("m1", "m2", "m3", "w4")
	s := setOf(t, m)
	if _, err := s.Get(t.Context(), "v"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("where nobody has it: %v", err)
	}
	m.kept["m3"], m.kept["w4"], m.kept["m1"] = 1, 1, 1
	if file, err := s.Get(t.Context(), "v"); err != nil || string(file) != "m3" {
		t.Errorf("got it from %q, %v", file, err)
	}
}

// late answers for a commit on one manager only when nobody waits any longer.
type late struct {
	*managers
	node string
}

func (l late) Commit(ctx context.Context, n fleet.Node, v state.Version) ([]byte, error) {
	if n.ID == l.node {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.managers.Commit(ctx, n, v)
}

// TestGet_OneHangs: a manager that does not answer does not hold up what another one has.
func TestGet_OneHangs(t *testing.T) {
	t.Parallel()
	m := swarmOf("m1", "m2", "m3")
	m.kept["m3"] = 1
	s := setOf(t, m)
	s.calls = late{m, "m2"}
	if file, err := s.Get(t.Context(), "v"); err != nil || string(file) != "m3" {
		t.Errorf("got it from %q, %v", file, err)
	}
}

// TestTell tells all others, and again what came while it told them.
func TestTell(t *testing.T) {
	t.Parallel()
	m := swarmOf("m1", "m2", "m3")
	s := setOf(t, m, "m1", "m2", "m3")
	s.Tell()
	heard := []string{<-m.told, <-m.told}
	slices.Sort(heard)
	if !slices.Equal(heard, []string{"m2", "m3"}) {
		t.Errorf("told are %v", heard)
	}
	for range 10 {
		s.Tell()
	}
	<-m.told
	<-m.told
}
