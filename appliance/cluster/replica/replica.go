// Package replica keeps the commits of the cluster's state on all managers, so that any of them can be
// lost. Which commit is the newest is for Swarm's raft to say: see package state.
//
// Which managers have the state is a document of it. A manager that is new follows the others first, and
// then puts itself on that list with a commit of its own; from then on a commit counts where a majority
// of those on the list that are managers of the swarm still has it. A manager of a version before is not
// on the list, and one that Swarm has lost, or was demoted, is taken off it by whoever sees that first.
package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Replica is a manager that has the state.
type Replica struct {
	Node  string     `json:"node"` // Swarm's ID
	Name  string     `json:"name"`
	Addr  netip.Addr `json:"addr"` // where Swarm sees it
	Since time.Time  `json:"since"`
	Full  bool       `json:"full,omitempty"`  // it has all images too
	Queue bool       `json:"queue,omitempty"` // it is the home of the cluster's queue
}

// Has is what a manager has beside the state.
type Has struct {
	Images func() bool // all of them; nil: it has not
	Queue  bool        // the cluster's
}

// AllImages reports whether it has all images now.
func (h Has) AllImages() bool { return h.Images != nil && h.Images() }

// ErrTooFew is returned where a majority of the managers cannot be reached, so that nothing was changed.
var ErrTooFew = errors.New("too few managers have it")

// Register is the value in Swarm's raft that says which commit is the newest.
type Register interface {
	// Load returns the value, and the moment at which it is that.
	Load(ctx context.Context) (value, moment string, err error)
	// Swap sets the value where nobody did since a moment. The error is state.ErrConflict where
	// somebody did.
	Swap(ctx context.Context, moment, value string) error
}

// Swarm is what is asked of the swarm.
type Swarm interface {
	// Nodes returns all nodes.
	Nodes(ctx context.Context) ([]fleet.Node, error)
	// Self returns this node's ID in the swarm, empty where it is in none, and whether it manages it.
	Self(ctx context.Context) (id string, manager bool, err error)
}

// Calls ask the crawlbox on another manager.
type Calls interface {
	PutCommit(ctx context.Context, n fleet.Node, v state.Version, file []byte) error
	// Commit returns the file of a commit. The error is state.ErrNotFound where it is not there.
	Commit(ctx context.Context, n fleet.Node, v state.Version) ([]byte, error)
	TellCommit(ctx context.Context, n fleet.Node) error
}

const (
	// putTimeout bounds how long one manager takes to keep a commit, also after a majority has.
	putTimeout = 15 * time.Second
	// tellTimeout bounds how long one is told that there is a newer one.
	tellTimeout = 5 * time.Second
	// sureDemoted is how many looks in a row tell that this node was demoted.
	sureDemoted = 2
	// lookInterval is how often the list is compared with Swarm's managers.
	lookInterval = 5 * time.Second
)

// Set is the managers that have the state. It implements state.Cluster; Use has to be called before its
// other methods.
type Set struct {
	register Register
	swarm    Swarm
	calls    Calls
	has      Has
	log      *slog.Logger

	list *state.Value[[]Replica]

	mu   sync.Mutex
	last []fleet.Node // the others, when a commit was last brought to them; nil: none was yet
	self string       // Swarm's ID of this node; empty: it is not known yet
	told bool         // somebody is telling the others
	more bool         // and has to do so again
}

// New returns the managers of a swarm. has is what this one has.
func New(r Register, s Swarm, c Calls, has Has, log *slog.Logger) *Set {
	return &Set{register: r, swarm: s, calls: c, has: has, log: log}
}

// Use has the list be a document of a store.
func (s *Set) Use(store state.Store) (err error) {
	s.list, err = state.NewValue(store, state.Format[[]Replica]{
		Names:  []string{state.Replicas},
		Decode: decode,
		Encode: func(list *[]Replica) (state.Contents, error) {
			data, err := json.Marshal(list)
			return state.Contents{state.Replicas: data}, err
		},
	})
	return err
}

func decode(docs state.Contents) (*[]Replica, error) {
	list := []Replica{}
	if data, ok := docs[state.Replicas]; ok {
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, state.Damaged(state.Replicas, err)
		}
	}
	return &list, nil
}

// Newest implements state.Cluster.
func (s *Set) Newest(ctx context.Context) (state.Mark, error) {
	value, moment, err := s.register.Load(ctx)
	return state.Mark{Newest: state.Version(value), Moment: moment}, err
}

// SetNewest implements state.Cluster.
func (s *Set) SetNewest(ctx context.Context, was state.Mark, next state.Version) error {
	return s.register.Swap(ctx, was.Moment, string(next))
}

// List returns the managers that have the state, the one that has had it longest first.
func (s *Set) List() []Replica { return *s.list.Get() }

// known returns this node's ID in the swarm.
func (s *Set) known(ctx context.Context) (string, error) {
	s.mu.Lock()
	id := s.self
	s.mu.Unlock()
	if id != "" {
		return id, nil
	}
	id, _, err := s.swarm.Self(ctx)
	if err == nil {
		s.mu.Lock()
		s.self = id
		s.mu.Unlock()
	}
	return id, err
}

// others returns the managers on the list, but for this one, and how many there are with it. Swarm is
// asked only where there are others.
func (s *Set) others(ctx context.Context) (others []fleet.Node, own bool, all int, err error) {
	list := s.List()
	if len(list) == 0 {
		return nil, false, 0, nil
	}
	self, err := s.known(ctx)
	if err != nil {
		return nil, false, 0, err
	}
	if len(list) == 1 && list[0].Node == self {
		return nil, true, 1, nil
	}
	nodes, err := s.swarm.Nodes(ctx)
	if err != nil {
		return nil, false, 0, err
	}
	for _, n := range nodes {
		switch {
		case !has(list, n.ID) || !isManager(n):
		case n.ID == self:
			own = true
			all++
		default:
			others = append(others, n)
			all++
		}
	}
	return others, own, all, nil
}

func has(list []Replica, node string) bool {
	return slices.ContainsFunc(list, func(r Replica) bool { return r.Node == node })
}

// isManager reports whether a node may have the state: one that is demoted may not, and counts no more.
func isManager(n fleet.Node) bool { return n.Role == fleet.RoleManager }

// Put implements state.Cluster. It returns once a majority has the commit; the others get it too, if they
// can be reached, or follow later.
func (s *Set) Put(ctx context.Context, v state.Version, file []byte) error {
	others, own, all, err := s.others(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.last = append([]fleet.Node{}, others...)
	s.mu.Unlock()
	missing := all/2 + 1
	if own {
		missing--
	}
	if all == 0 { // nobody is on the list yet
		return nil
	}
	type answer struct {
		node fleet.Node
		err  error
	}
	answers := make(chan answer, len(others))
	for _, n := range others {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putTimeout)
			defer cancel()
			answers <- answer{n, s.calls.PutCommit(ctx, n, v, file)}
		}()
	}
	var failed []string
	for range others {
		if missing == 0 {
			return nil
		}
		select {
		case a := <-answers:
			if a.err == nil {
				missing--
				continue
			}
			failed = append(failed, fmt.Sprintf("%s: %s", a.node.Display, a.err))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if missing == 0 {
		return nil
	}
	slices.Sort(failed)
	return fmt.Errorf("nothing can be changed now, since a majority of the %d managers has to keep each change and "+
		"%s; start crawlbox there, or demote what is gone for good with `crawlbox node demote` (%w)", all,
		strings.Join(failed, ", "), ErrTooFew)
}

// Get implements state.Cluster. Any manager of the swarm may have the commit: all are asked at once, as one that has
// just lost its power answers late.
func (s *Set) Get(ctx context.Context, v state.Version) ([]byte, error) {
	self, err := s.known(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := s.swarm.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	asked, cancel := context.WithCancel(ctx)
	defer cancel()
	answers, left := make(chan []byte, len(nodes)), 0
	for _, n := range nodes {
		if n.ID == self || !isManager(n) {
			continue
		}
		left++
		go func() {
			file, err := s.calls.Commit(asked, n, v)
			if err != nil {
				file = nil
				s.log.Debug("failed to get a commit of the state", "node", n.Display, "error", err)
			}
			answers <- file
		}()
	}
	for ; left > 0; left-- {
		select {
		case file := <-answers:
			if file != nil {
				return file, nil
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return nil, state.ErrNotFound
}

// Tell implements state.Cluster.
func (s *Set) Tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told {
		s.more = true
		return
	}
	s.told = true
	go s.tell()
}

// tell tells the others, and again where there was a newer commit meanwhile.
func (s *Set) tell() {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), tellTimeout)
		s.mu.Lock()
		others := s.last
		s.mu.Unlock()
		if others == nil {
			others, _, _, _ = s.others(ctx)
		}
		var all sync.WaitGroup
		for _, n := range others {
			all.Go(func() { _ = s.calls.TellCommit(ctx, n) }) // who does not hear of it asks soon
		}
		all.Wait()
		cancel()
		s.mu.Lock()
		if !s.more {
			s.told = false
			s.mu.Unlock()
			return
		}
		s.more = false
		s.mu.Unlock()
	}
}

// ErrDemoted is returned by Run once this node manages the swarm no longer.
var ErrDemoted = errors.New("this node is no longer a manager of the swarm")

// Run has this manager be on the list, once it has the newest state, and takes off it who is no manager
// of the swarm any more, until ctx ends. The error is ErrDemoted where this node is none itself.
func (s *Set) Run(ctx context.Context) error {
	said, demoted := "", 0
	for {
		err := s.look(ctx)
		if demoted++; !errors.Is(err, ErrDemoted) {
			demoted = 0
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case demoted >= sureDemoted:
			return err
		case err != nil && demoted == 0 && err.Error() != said:
			s.log.Warn("failed to compare the managers that have the cluster's state with Swarm's; will retry",
				"error", err)
		}
		said = fmt.Sprint(err)
		if clock.Sleep(ctx, lookInterval) != nil {
			return nil
		}
	}
}

// look compares the list with Swarm's managers once.
func (s *Set) look(ctx context.Context) error {
	self, manager, err := s.swarm.Self(ctx) // also another one than before
	if err == nil && self != "" && !manager {
		err = ErrDemoted
	}
	if err != nil {
		return err
	}
	nodes, err := s.swarm.Nodes(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.self = self
	s.mu.Unlock()
	return s.list.Update("the managers that have the state", func(was *[]Replica) (*[]Replica, error) {
		next := s.changed(*was, nodes, self)
		if slices.Equal(next, *was) {
			return was, nil
		}
		return &next, nil
	})
}

// changed returns the list as it is to be.
func (s *Set) changed(list []Replica, nodes []fleet.Node, self string) []Replica {
	next := slices.DeleteFunc(slices.Clone(list), func(r Replica) bool {
		return r.Node != self && !slices.ContainsFunc(nodes, func(n fleet.Node) bool {
			return n.ID == r.Node && isManager(n)
		})
	})
	for _, n := range nodes {
		addr, err := netip.ParseAddr(n.Addr)
		if n.ID != self || !isManager(n) || err != nil || addr.IsUnspecified() {
			continue
		}
		own := Replica{
			Node:  self,
			Name:  n.Name,
			Addr:  addr.Unmap(),
			Since: time.Now().UTC(),
			Full:  s.has.AllImages(),
			Queue: s.has.Queue,
		}
		for i := range next { // there is one home
			next[i].Queue = next[i].Queue && !own.Queue
		}
		if i := slices.IndexFunc(next, func(r Replica) bool { return r.Node == self }); i >= 0 {
			own.Since = next[i].Since
			next[i] = own
		} else {
			next = append(next, own)
		}
	}
	slices.SortStableFunc(next, func(a, b Replica) int { return a.Since.Compare(b.Since) })
	return next
}
