package mirror

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
)

// Defaults of Options.
const (
	DefaultMaxBytes     = 10 << 30
	DefaultMinFree      = 256 << 20
	DefaultStallTimeout = 30 * time.Second
	DefaultRetries      = 5
	DefaultBackOff      = 200 * time.Millisecond
	DefaultLinger       = 2 * time.Minute
	DefaultScrubRate    = 50 << 20
)

// Options of a mirror. Zero values mean the defaults.
type Options struct {
	// Dir is the cache directory. It belongs to one mirror at a time.
	Dir string
	// MaxBytes limits the cache, downloads under way included. A negative
	// number keeps nothing.
	MaxBytes int64
	// MinFree is how many bytes of the disk the cache leaves free; a negative
	// number means none.
	MinFree int64
	// Source supplies everything that does not come in pieces.
	Source Source
	// Exchange brings pieces; nil means that none come. Its Store has what the
	// mirror keeps too.
	Exchange *exchange.Options
	// Manager is the registry's name in error messages, such as
	// 10.0.0.1:8003; "the manager" if nil.
	Manager func() string
	// StallTimeout is how long the upstream may send nothing.
	StallTimeout time.Duration
	// Retries is how often in a row the upstream may fail without getting
	// anywhere.
	Retries int
	// BackOff is the wait after the first failure; it doubles up to 5 s.
	BackOff time.Duration
	// Linger is how long a download goes on that nobody reads.
	Linger time.Duration
	// ScrubRate is how many bytes a second are read after Open to check what was
	// kept before.
	ScrubRate int64
}

func (o Options) withDefaults() Options {
	o.MaxBytes = max(cmp.Or(o.MaxBytes, DefaultMaxBytes), 0)
	o.MinFree = max(cmp.Or(o.MinFree, DefaultMinFree), 0)
	o.StallTimeout = cmp.Or(o.StallTimeout, DefaultStallTimeout)
	o.Retries = cmp.Or(o.Retries, DefaultRetries)
	o.BackOff = cmp.Or(o.BackOff, DefaultBackOff)
	o.Linger = cmp.Or(o.Linger, DefaultLinger)
	o.ScrubRate = cmp.Or(o.ScrubRate, DefaultScrubRate)
	if o.Manager == nil {
		o.Manager = func() string { return "the manager" }
	}
	return o
}

// Mirror is an open mirror. It is safe for concurrent use.
type Mirror struct {
	opts  Options
	log   *slog.Logger
	cache *cache.Cache
	pins  *pins
	up    *upstream
	// exchange is nil where all comes from the Source.
	exchange *exchange.Exchange

	ctx    context.Context // of the downloads, which outlive requests
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	downloads map[cache.Key]*download
	stats     Stats
}

// Stats are counters since Open, except for Bytes and Files, which are now.
type Stats struct {
	Bytes     int64 // kept on disk
	Files     int   // kept on disk
	Hits      int64 // requests by digest answered from disk
	Shared    int64 // requests that joined a download under way
	Downloads int64 // downloads begun
	Streamed  int64 // requests passed through without keeping
	Evicted   int64 // files removed to make room

	FromCache   int64 // bytes sent from disk
	FromManager int64 // bytes got whole from the registry
	FromNodes   int64 // bytes got whole from nodes that stood in for it
	// Pieces tells what came in pieces, and from where.
	Pieces exchange.Stats
}

// Open opens the cache in o.Dir, makes it if need be, and removes half-written
// files. What was kept is checked before its first use, and all of it in the
// background. Close must be called.
func Open(o Options, log *slog.Logger) (*Mirror, error) {
	o = o.withDefaults()
	if o.Source == nil {
		return nil, fmt.Errorf("open mirror: no source")
	}
	c, err := cache.Open(o.Dir, o.MaxBytes, o.MinFree, log)
	if err != nil {
		return nil, fmt.Errorf("open mirror in %s: %w", o.Dir, err)
	}
	pinned := openPins(c, log)
	c.Fit()
	ctx, cancel := context.WithCancel(context.Background())
	m := &Mirror{
		opts:      o,
		log:       log,
		cache:     c,
		pins:      pinned,
		up:        &upstream{source: o.Source, stall: o.StallTimeout},
		ctx:       ctx,
		cancel:    cancel,
		downloads: make(map[cache.Key]*download),
	}
	if o.Exchange != nil {
		with := *o.Exchange
		with.Store = stored{c, with.Store}
		m.exchange = exchange.New(with, log)
	}
	kept := c.Files()
	m.wg.Go(func() { c.Scrub(ctx, kept, o.ScrubRate) })
	return m, nil
}

// Pin keeps an image, named by the digest of its manifest, with all that it consists
// of for as long as there is anything else to evict, whether it is here or comes
// later. It reports whether the image was not pinned before. Pins outlive the process.
func (m *Mirror) Pin(image digest.Digest) (added bool) { return m.pins.add(image) }

// Unpin ends what Pin began, and drops what of the image no pinned one needs.
func (m *Mirror) Unpin(image digest.Digest) { m.pins.remove(image) }

// Drop drops what is kept of a blob that no pinned image needs.
func (m *Mirror) Drop(d digest.Digest) {
	if m.cache.Rank(d) == 0 {
		m.cache.Forget(d)
	}
}

// Handler serves the read half of the registry API under /v2/.
func (m *Mirror) Handler() http.Handler { return http.HandlerFunc(m.serve) }

// Exchange returns what other nodes get pieces from; nil where Options has none.
func (m *Mirror) Exchange() *exchange.Exchange { return m.exchange }

// Close stops the downloads and the check of the cache, and waits for them. Their readers fail.
func (m *Mirror) Close() error {
	m.cancel()
	m.wg.Wait()
	return nil
}

func (m *Mirror) Stats() Stats {
	m.mu.Lock()
	s := m.stats
	m.mu.Unlock()
	s.Bytes, s.Files, s.Evicted = m.cache.Stats()
	s.FromManager, s.FromNodes = m.up.fromManager.Load(), m.up.fromNodes.Load()
	if m.exchange != nil {
		s.Pieces = m.exchange.Stats()
	}
	return s
}

func (m *Mirror) count(counter func(*Stats)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	counter(&m.stats)
}
