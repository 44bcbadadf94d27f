package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/registry/layout"
	"github.com/crawlbox/crawlbox/embedded/registry/storage"
)

// Defaults of Options.
const (
	DefaultMinFree = 256 << 20
	DefaultGrace   = time.Hour
)

// Options say where a registry lives and how careful it is.
type Options struct {
	// Dir is the data directory; it is created with mode 0700.
	Dir string
	// MinFree is how many bytes of the disk an upload must leave free.
	// 0 means DefaultMinFree; a negative number lets uploads fill the disk.
	MinFree int64
	// Grace is how long a collection leaves alone what a client was told is
	// there. 0 means DefaultGrace; negative means none: a push that overlaps a
	// collection may then fail, but one that succeeded is whole.
	Grace time.Duration
	// Uploaded is told of each blob that a push has brought, once it can be opened,
	// and before the push goes on: it must not wait. nil means that nobody is told.
	Uploaded func(d digest.Digest)
	// Tags say what tags point at, and Others have copies of what is pushed, where this is one of several
	// registries. Both are nil where it is alone: then this directory says it.
	Tags   Tags
	Others Others
	// Clock tells the time; time.Now if nil.
	Clock func() time.Time
}

func (o Options) withDefaults() Options {
	o.MinFree = max(cmp.Or(o.MinFree, DefaultMinFree), 0)
	o.Grace = max(cmp.Or(o.Grace, DefaultGrace), 0)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Uploaded == nil {
		o.Uploaded = func(digest.Digest) {}
	}
	return o
}

// Registry is an open registry. It is safe for concurrent use.
type Registry struct {
	layout layout.Layout
	disk   storage.Disk
	grace  time.Duration
	now    func() time.Time
	log    *slog.Logger

	app    *handlers.App
	sparse *handlers.App // the same, for indexes that are not whole
	unlock func() error
	tags   Tags
	others Others

	// puts is read-locked by each manifest PUT and locked by the barrier before
	// a mark phase, and by whoever removes tags.
	puts sync.RWMutex
	// touch is read-locked while a file is looked at and touched, or written,
	// and locked while a collection looks at one digest and deletes it.
	touch  *sync.RWMutex
	pushes pushes
	room   *room // for manifests that are pushed
	// collecting lets one collection run at a time.
	collecting chan struct{}

	landMu sync.Mutex
	landed map[digest.Digest]int // manifests, by how many pushes that run now
}

// Open opens the registry in o.Dir and makes it if it is not there. It mends
// what a crash left behind. The directory is locked until Close; a second Open of
// it fails with ErrInUse. The context bounds Open only.
func Open(ctx context.Context, o Options, log *slog.Logger) (*Registry, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make registry directory: %w", err)
	}
	unlock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	r := &Registry{
		layout:     layout.Layout{Root: o.Dir},
		disk:       storage.Disk{Dir: o.Dir, MinFree: o.MinFree},
		grace:      o.Grace,
		now:        o.Clock,
		log:        log,
		unlock:     unlock,
		touch:      new(sync.RWMutex),
		pushes:     pushes{repos: map[string]*pushState{}, uploaded: o.Uploaded},
		room:       newRoom(),
		collecting: make(chan struct{}, 1),
		tags:       o.Tags,
		others:     o.Others,
		landed:     map[digest.Digest]int{},
	}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open registry in %s: %w", o.Dir, err), unlock())
	}
	return r, nil
}

func (r *Registry) start(ctx context.Context) error {
	if err := r.layout.Repair(ctx); err != nil {
		return err
	}
	secret, err := loadSecret(r.layout.Root)
	if err != nil {
		return err
	}
	storage.RedirectLogrus(r.log)
	d := &storage.Driver{
		Driver: filesystem.New(filesystem.DriverParameters{
			RootDirectory: r.layout.Root,
			MaxThreads:    storage.MaxThreads,
		}),
		Root:  r.layout.Root,
		Disk:  r.disk,
		Now:   r.now,
		Touch: r.touch,
	}
	if r.app, err = storage.NewApp(secret, d, false); err == nil {
		r.sparse, err = storage.NewApp(secret, d, true)
	}
	return err
}

// Handler serves the registry API under /v2/.
func (r *Registry) Handler() http.Handler { return r.serve(r.app, r.shares()) }

// Sparse returns a Handler that also takes indexes of which some images are not there, and
// layers that are to be had elsewhere only. It is for the copies of other registries'
// images: of an index they need what the cluster's processors run, and the index is
// to keep its digest. A user who pushes an image means it to be whole.
func (r *Registry) Sparse() http.Handler { return r.serve(r.sparse, r.shares()) }

// Close releases the directory. Requests must have ended.
func (r *Registry) Close() error {
	return errors.Join(r.app.Shutdown(), r.sparse.Shutdown(), r.unlock())
}
