// Package images puts together what a node serves images from: a manager from its registry, which is one with
// those of the other managers, and any other node from a mirror of these. It is apart from package node since
// what a node has of the images is a subject of its own.
package images

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/pieces"
	"github.com/crawlbox/crawlbox/appliance/registries"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// Others are the other nodes that a mirror asks.
type Others struct {
	View       *agent.View
	Self       netip.Addr   // that others reach this node at
	ToManagers *http.Client // speaks to managers only
	ToAll      *http.Client
}

// maxConns is how many connections there are to another node at a time for what managers have not. It lets a party
// have 256, and ends the oldest one's for the next; see package registries for those to managers.
const maxConns = 32

// few returns a client that does as another one, with few connections to each node at a time.
func few(c *http.Client) *http.Client {
	bounded := *c
	if t, ok := c.Transport.(*http.Transport); ok {
		t = t.Clone()
		t.MaxConnsPerHost = maxConns
		bounded.Transport = t
	}
	return &bounded
}

// Mirror is one, and the links by which it gets pieces.
type Mirror struct {
	*mirror.Mirror
	links  *wire.Links
	others *http.Client
}

// OpenMirror opens the mirror of a node.
func OpenMirror(cfg configs.Config, o Others, log *slog.Logger) (*Mirror, error) {
	return open(cfg, o, o.ToManagers, func() []string { return agent.URLs(o.View.Full()) }, nil, log)
}

// open opens a mirror of what has bases, which also exchanges what is in a store.
func open(cfg configs.Config, o Others, client *http.Client, bases func() []string, more exchange.Store,
	log *slog.Logger) (*Mirror, error) {
	links, others := wire.NewLinks(o.ToAll), few(o.ToAll)
	opts := pieces.Options(cfg.Mirror, links, o.View.Addr(o.Self))
	opts.Trackers, opts.Nodes, opts.Store = o.View.Full, o.View.Alive, more
	m, err := mirror.Open(mirror.Options{
		Dir:      cfg.MirrorDir(),
		MaxBytes: int64(cfg.Mirror.MaxSize),
		Manager:  o.View.ManagerName,
		Source: &mirror.HTTPSource{
			Client:       client,
			Bases:        bases,
			OthersClient: others,
			Others:       func() []string { return agent.URLs(o.View.Alive()) },
		},
		Exchange: &opts,
	}, log)
	if err != nil {
		links.Close()
		return nil, err
	}
	return &Mirror{m, links, others}, nil
}

// Close closes it. A nil Mirror was not opened.
func (m *Mirror) Close() {
	if m == nil {
		return
	}
	_ = m.Mirror.Close()
	m.links.Close()
	m.others.CloseIdleConnections()
}

// Store is what a manager has of the cluster's images.
type Store struct {
	*registries.Set
	mirror *Mirror
	cutter *pieces.Cutter
	log    *slog.Logger
}

// Open opens the registry of a manager, and a mirror of the others'. created says that the manager created the
// cluster, and pinned returns the images that services run or may go back to. Close has to be called, also after
// an error.
func (s *Store) Open(ctx context.Context, cfg configs.Config, a *authority.Authority, created bool,
	pinned func() []string, o Others, log *slog.Logger) (err error) {
	s.log = log
	tags, err := a.Tags()
	if err != nil {
		return err
	}
	s.Set, err = registries.Open(ctx, registries.Options{
		Registry: registry.Options{
			Dir:      cfg.RegistryDir(),
			MinFree:  int64(cfg.Registry.MinFree),
			Uploaded: func(d digest.Digest) { s.cutter.Add(d) },
		},
		Tags:    tags,
		Others:  a.OtherManagers,
		Client:  o.ToManagers,
		Copies:  cfg.Registry.Copies,
		Created: created,
		Full:    created || a.IsFull(),
		Sync:    a.Sync,
		Pinned:  pinned,
		Drop:    func(d digest.Digest) { s.mirror.Drop(d) },
		Log:     log,
	})
	if err != nil {
		return err
	}
	if s.mirror, err = open(cfg, o, s.Client(), s.Bases, pieces.Store{Registry: s.Registry}, log); err != nil {
		return err
	}
	s.Mirror(s.mirror.Handler())
	s.cutter = pieces.NewCutter(s.mirror.Exchange(), log)
	return nil
}

// Close closes what was opened.
func (s *Store) Close() {
	s.mirror.Close()
	if s.Set == nil {
		return
	}
	if err := s.Set.Close(); err != nil {
		s.log.Warn("failed to close the registry", "error", err)
	}
}

// Parts keep what is here in step with the others.
func (s *Store) Parts() []lifecycle.Part {
	return []lifecycle.Part{
		lifecycle.Background("pieces", s.cutter.Run),
		lifecycle.Background("images of other managers", s.Run),
	}
}

// Handlers returns what the port between nodes serves of images, the nodes which ask being named by asker.
func (s *Store) Handlers(asker func(*http.Request) string) []agent.Handler {
	unguarded := func(h http.Handler) http.Handler { return h } // the table of calls guards it
	return append(s.Set.Handlers(),
		agent.Raw(wire.Path, wire.NewServer(s.mirror.Exchange(), s.log).Handler(unguarded, asker)))
}

// Look asks the parts whether they answer.
func (s *Store) Look() { s.mirror.Stats() }

// Reports are what the status has of them. addr is where others push to.
func (s *Store) Reports(cfg configs.Config, addr string) []control.Report {
	sent := func() int64 { return s.mirror.Exchange().Stats().Sent }
	return []control.Report{
		control.RegistryReport(s.Registry, control.LocalRegistry(cfg.Registry.Port), addr, cfg.RegistryDir(), sent),
		control.PartReport(api.Warning, api.ImagesBehind, s.Behind),
	}
}
