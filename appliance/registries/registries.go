// Package registries makes the registries of all managers one: an image can be pushed to any of them and pulled
// from any, and any of them can be lost.
//
// What a tag points at is a document of the cluster's state (package tags), so all managers agree on it and it
// never goes back. What the images consist of is named by its digest, and has its copies:
//
//   - A push is answered once the image is on as many managers as are to have it, which is two. The other one
//     gets each blob while it comes in, from the disk of the first, so a push takes no longer than to one
//     manager; what it did not get that way it is sent before the push is answered.
//   - A manager that lacks images, as it is new or was away, fills up in the background, in pieces from all
//     nodes that have them. Until then it answers with what others have.
//   - Each sweeps its own disk. What another manager brings counts as a push there until its tag is in the
//     state, and a manager that can't follow the state sweeps nothing.
//
// Managers bring each other what they have in the way of any registry, over the port between nodes, where only
// managers may: a manager's own registry says there what is in its directory and nothing else, so that no
// question goes round in circles. All content is checked against its digest by whoever keeps it.
package registries

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/inprocess"
	"github.com/crawlbox/crawlbox/appliance/registries/tags"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// path is where a manager's own registry is on the port between nodes, for the other managers.
var path = strings.TrimSuffix(agent.RouteRegistry, "/")

// Options are what a Set needs. Tags, Others and Client are required.
type Options struct {
	// Registry are those of this manager's registry, but for its Tags and Others.
	Registry registry.Options
	// Tags are those of the cluster.
	Tags *tags.Tags
	// Others are the other managers that have the cluster's state.
	Others func() []Manager
	// Client speaks to managers only.
	Client *http.Client
	// Copies is on how many managers an image is before its push is answered, as far as there are as many.
	Copies int
	// Created says that this manager created the cluster, so that a version before may have left tags.
	Created bool
	// Full says that this manager had all images when it was looked last.
	Full bool
	// Sync brings the tags up to date; nil: they are.
	Sync func(context.Context) error
	// Pinned returns images of the cluster's registry that services may go back to, as REPOSITORY:TAG@DIGEST, with
	// or without an address before it; nil: none.
	Pinned func() []string
	// Drop is told of what the mirror need not have, since it is here now; nil: nobody is.
	Drop func(digest.Digest)
	Log  *slog.Logger
}

// Set is this manager's registry as one of all managers' registries. Its methods may be called at the same time.
type Set struct {
	Registry *registry.Registry

	o      Options
	others *managers
	own    server // what is in this manager's directory
	away   server // what others have

	mirror atomic.Pointer[http.Handler] // of what others have

	patience time.Duration // copyPatience

	ctx     context.Context // of what goes on beside requests
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	passing map[string]*passage // by upload
	full    bool
	filled  Filled
	whole   map[string]bool // images that are here, of those that are to be
}

// Open opens the registry of this manager. Close has to be called.
func Open(ctx context.Context, o Options) (*Set, error) {
	if o.Drop == nil {
		o.Drop = func(digest.Digest) {}
	}
	if o.Sync == nil {
		o.Sync = func(context.Context) error { return nil }
	}
	if o.Pinned == nil {
		o.Pinned = func() []string { return nil }
	}
	s := &Set{o: o, others: newManagers(o.Others, o.Client), patience: copyPatience, full: o.Full,
		passing: map[string]*passage{}, whole: map[string]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	with := o.Registry
	with.Tags, with.Others = o.Tags, s
	var err error
	if s.Registry, err = registry.Open(ctx, with, o.Log); err != nil {
		s.cancel()
		return nil, err
	}
	in := func(h http.Handler) server {
		return server{&http.Client{Transport: inprocess.Transport{Handler: h}}, "http://localhost"}
	}
	s.own, s.away = in(s.Registry.Own()), in(http.HandlerFunc(s.elsewhere))
	if o.Created {
		written, until, err := s.Registry.Written(ctx)
		if err != nil {
			s.Close()
			return nil, err
		}
		o.Tags.Take(written, until, len(o.Others()) == 0)
	}
	return s, nil
}

// Bases are the URLs of what other managers have, for a mirror with Client.
func (s *Set) Bases() (list []string) {
	for _, to := range s.others.all() {
		list = append(list, s.others.at(to).base)
	}
	return list
}

// Client speaks to other managers, and notes which do not answer.
func (s *Set) Client() *http.Client { return s.others.client }

// Mirror says who answers with what others have: a mirror that asks them.
func (s *Set) Mirror(h http.Handler) { s.mirror.Store(&h) }

// ServeHTTP implements registry.Others.
func (s *Set) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(s.o.Others()) == 0 {
		registry.ReadOnly(s.Registry.Own()).ServeHTTP(w, r) // says that it is not here
		return
	}
	s.elsewhere(w, r)
}

// elsewhere answers with what other managers have or, where there are none, other nodes.
func (s *Set) elsewhere(w http.ResponseWriter, r *http.Request) {
	if h := s.mirror.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.WriteHeader(http.StatusFailedDependency)
}

// Handler serves images to people and to Docker, who may push.
func (s *Set) Handler() http.Handler { return s.Registry.Handler() }

// Handlers returns what other nodes get of images: all nodes what there is, and managers what is here.
func (s *Set) Handlers() []agent.Handler {
	return []agent.Handler{
		agent.Raw(agent.RouteImages, s.forNodes()),
		agent.Raw(agent.RouteRegistry, http.StripPrefix(path, s.Registry.Own())),
		filledCall.Handler(s.o.Log, func(context.Context, agent.Peer, agent.None) (Filled, error) {
			return s.Filled(), nil
		}),
		sweepCall.Handler(s.o.Log, s.answerSweep),
	}
}

// forNodes lets nodes read: what there is or, where another one's mirror asks all nodes, what is here.
func (s *Set) forNodes() http.Handler {
	all, here := registry.ReadOnly(s.Registry.Handler()), registry.ReadOnly(s.Registry.Own())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(mirror.StandIn) != "" {
			here.ServeHTTP(w, r)
			return
		}
		all.ServeHTTP(w, r)
	})
}

// Close ends what goes on and closes the registry. Requests must have ended.
func (s *Set) Close() error {
	s.cancel()
	s.running.Wait()
	s.others.client.CloseIdleConnections()
	return s.Registry.Close()
}
