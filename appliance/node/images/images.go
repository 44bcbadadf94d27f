// Package images puts together what a node serves images from: a manager from its registry and, for what
// that has not, from a mirror of the others' registries; any other node from such a mirror alone. It is apart
// from package node since what a node has of the images is a subject of its own.
package images

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/pieces"
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

// Mirror is one, and the links by which it gets pieces.
type Mirror struct {
	*mirror.Mirror
	links *wire.Links
}

// OpenMirror opens the mirror of a node.
func OpenMirror(cfg configs.Config, o Others, log *slog.Logger) (*Mirror, error) {
	links := wire.NewLinks(o.ToAll)
	opts := pieces.Options(cfg.Mirror, links, o.View.Addr(o.Self))
	opts.Trackers, opts.Nodes = o.View.Full, o.View.Alive
	m, err := mirror.Open(mirror.Options{
		Dir:      cfg.MirrorDir(),
		MaxBytes: int64(cfg.Mirror.MaxSize),
		Manager:  o.View.ManagerName,
		Source: &mirror.HTTPSource{
			Client:       o.ToManagers,
			Bases:        func() []string { return agent.URLs(o.View.Full()) },
			OthersClient: o.ToAll,
			Others:       func() []string { return agent.URLs(o.View.Alive()) },
		},
		Exchange: &opts,
	}, log)
	if err != nil {
		links.Close()
		return nil, err
	}
	return &Mirror{m, links}, nil
}

// Close closes it. A nil Mirror was not opened.
func (m *Mirror) Close() {
	if m == nil {
		return
	}
	_ = m.Mirror.Close()
	m.links.Close()
}

// Store is what a manager has of the cluster's images.
type Store struct {
	Registry *registry.Registry
	Mirror   *Mirror // nil: the registry has all images
	Pieces   *exchange.Exchange
	Cutter   *pieces.Cutter
	Pins     agent.Pins
}

// Open opens the registry of a manager and, unless it has all images, a mirror besides. Close has to be called,
// also after an error.
func (s *Store) Open(ctx context.Context, cfg configs.Config, all bool, o Others, log *slog.Logger) (err error) {
	s.Registry, err = registry.Open(ctx, registry.Options{
		Dir:      cfg.RegistryDir(),
		MinFree:  int64(cfg.Registry.MinFree),
		Uploaded: func(d digest.Digest) { s.Cutter.Add(d) },
	}, log)
	if err != nil {
		return err
	}
	s.Pins = agent.NoPins{}
	if all {
		opts := pieces.Options(cfg.Mirror, nil, o.View.Addr(o.Self)) // it fetches nothing
		opts.Store = pieces.Store{Registry: s.Registry}
		s.Pieces = exchange.New(opts, log)
	} else if s.Mirror, err = OpenMirror(cfg, o, log); err == nil {
		s.Pieces, s.Pins = s.Mirror.Exchange(), s.Mirror
	}
	s.Cutter = pieces.NewCutter(s.Pieces, log)
	return err
}

// Close closes what was opened.
func (s *Store) Close(log *slog.Logger) {
	s.Mirror.Close()
	if s.Registry == nil {
		return
	}
	if err := s.Registry.Close(); err != nil {
		log.Warn("failed to close the registry", "error", err)
	}
}

// Handler serves the images.
func (s *Store) Handler() http.Handler {
	if s.Mirror == nil {
		return s.Registry.Handler()
	}
	return backed(s.Registry.Handler(), s.Mirror.Handler())
}

// Look asks the parts whether they answer.
func (s *Store) Look() {
	if s.Mirror != nil {
		s.Mirror.Stats()
	}
}

// Report is what the status has of them. addr is where others push to.
func (s *Store) Report(cfg configs.Config, addr string) control.Report {
	local := control.LocalRegistry(cfg.Registry.Port)
	if s.Mirror != nil {
		return control.MirrorReport(s.Mirror.Mirror, local, cfg.MirrorDir())
	}
	sent := func() int64 { return s.Pieces.Stats().Sent }
	return control.RegistryReport(s.Registry, local, addr, cfg.RegistryDir(), sent)
}

// backed serves reads from one handler and, where that finds nothing, from another, which also answers all else.
func backed(first, second http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			held := &found{ResponseWriter: w, header: http.Header{}}
			if first.ServeHTTP(held, r); !held.missing {
				return
			}
		}
		second.ServeHTTP(w, r)
	})
}

// found is an answer that is let through unless nothing was found.
type found struct {
	http.ResponseWriter
	header  http.Header // until it is let through
	through bool
	missing bool
}

func (f *found) Header() http.Header {
	if f.through {
		return f.ResponseWriter.Header()
	}
	return f.header
}

func (f *found) WriteHeader(code int) {
	switch {
	case f.missing:
		return
	case !f.through && code == http.StatusNotFound:
		f.missing = true
		return
	case !f.through:
		for name, values := range f.header {
			f.ResponseWriter.Header()[name] = values
		}
		f.through = true
	}
	f.ResponseWriter.WriteHeader(code)
}

func (f *found) Write(data []byte) (int, error) {
	if !f.through && !f.missing {
		f.WriteHeader(http.StatusOK)
	}
	if f.missing {
		return len(data), nil
	}
	return f.ResponseWriter.Write(data)
}

// Unwrap is for http.ResponseController.
func (f *found) Unwrap() http.ResponseWriter { return f.ResponseWriter }
