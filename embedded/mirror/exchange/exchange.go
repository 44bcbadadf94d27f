package exchange

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

// Store has the blobs that are here whole.
type Store interface {
	// Open opens a blob; ok is false if it is not here whole.
	Open(d digest.Digest) (b Blob, ok bool)
}

type Blob interface {
	io.ReaderAt
	io.Closer
	Size() int64 // in bytes
}

// Options of an exchange. Zero values mean the defaults.
type Options struct {
	Store   Store
	Network Network
	// Self is this node's own address and port, which is never asked.
	Self string
	// Trackers lists the nodes that have every blob, but for what they are getting
	// now, and know who takes part; nil: there are none.
	Trackers func() []string
	// MinSize is the size in bytes from which a blob is cut; cut.MinSize.
	MinSize int64
	// Nodes are all others. They are asked where no tracker answers.
	Nodes func() []string
	// Slots is how many pieces are sent at a time; 4.
	Slots int
	// Copies is how often a node gives out each piece of a blob of its own choice
	// before it leaves that to others; 2.
	Copies int
	// Flights is how many pieces of a blob are under way at a time; 4.
	Flights int
	// Peers is the number of others with which a blob is exchanged at a time; 8.
	Peers int
	// Patience is how long a fetch goes on that gets nothing; 30 s. Where others have
	// what is missing and are busy, it is ten times longer.
	Patience time.Duration
	// Upload and Download limit the bytes a second; nil means no limit.
	Upload, Download *rate.Limiter
}

func (o Options) withDefaults() Options {
	o.Slots = cmp.Or(o.Slots, 4)
	o.MinSize = cmp.Or(o.MinSize, cut.MinSize)
	o.Copies = cmp.Or(o.Copies, 2)
	o.Flights = cmp.Or(o.Flights, 4)
	o.Peers = cmp.Or(o.Peers, 8)
	o.Patience = cmp.Or(o.Patience, 30*time.Second)
	if o.Trackers == nil {
		o.Trackers = func() []string { return nil }
	}
	if o.Nodes == nil {
		o.Nodes = func() []string { return nil }
	}
	return o
}

// Exchange gives pieces of blobs to other nodes and gets them from there. It
// is safe for concurrent use.
type Exchange struct {
	o       Options
	log     *slog.Logger
	tables  *tables
	tracker *tracker
	slots   *slots
	buffers *buffers
	stats   counters
	peerUse peerUse

	// Tests cut smaller.
	slowRate  int64
	pieceSize func(blob int64) int64

	mu      sync.Mutex
	fetches map[digest.Digest]*fetch
	given   *lru.Cache[digest.Digest, *handout]
}

// remembered is the number of blobs of which an exchange remembers how they are cut and who
// takes part.
const remembered = 256

// New makes an exchange. It does nothing by itself.
func New(o Options, log *slog.Logger) *Exchange {
	o = o.withDefaults()
	given, _ := lru.New[digest.Digest, *handout](remembered) // fails for sizes below 1 only
	return &Exchange{
		o:         o,
		log:       log,
		tables:    newTables(),
		tracker:   newTracker(),
		slots:     newSlots(o.Slots),
		buffers:   newBuffers(),
		fetches:   map[digest.Digest]*fetch{},
		given:     given,
		slowRate:  slowRate,
		pieceSize: cut.PieceSize,
	}
}

// Sink takes a fetched blob.
type Sink interface {
	// Make makes room for a blob of the size given, in bytes.
	Make(size int64) (cut.File, error)
	// Grown says how much of it can be read from the start.
	Grown(readable int64)
	// Keep is called when all of it is there and right, before other nodes are told to
	// look for it in the Store.
	Keep() error
}

// Fetch brings a blob from wherever it is, and returns when it is whole and kept,
// when ctx ends, or when nobody had a new piece of it for Options.Patience. It is
// called once at a time for a blob. ErrUnknown means that a tracker does not have
// the blob or does not cut it, nothing having been made.
func (x *Exchange) Fetch(ctx context.Context, d digest.Digest, into Sink) error {
	if d.Algorithm() != digest.SHA256 {
		return ErrUnknown
	}
	begun := time.Now()
	table, from, err := x.findTable(ctx, d)
	if err != nil {
		return err
	}
	file, err := into.Make(table.Size)
	if err != nil {
		return err
	}
	sure := slices.Contains(x.o.Trackers(), from)
	f := newFetch(ctx, x, cut.NewPartial(d, table, sure, file, into.Grown))
	if sure {
		f.has = from
	}
	x.enter(f)
	defer x.depart(f)
	defer f.end()
	if err := f.run(); err != nil {
		return err
	}
	x.tables.keep(d, table)
	x.log.Debug("a blob came in pieces", "digest", d, "bytes", table.Size, "took",
		time.Since(begun).Round(time.Millisecond), "tally", f.tally)
	return into.Keep()
}

func (x *Exchange) enter(f *fetch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fetches[f.part.Digest] = f
}

func (x *Exchange) depart(f *fetch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.fetches, f.part.Digest)
}

func (x *Exchange) underWay(d digest.Digest) *fetch {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.fetches[d]
}

func shuffled(nodes []string) []string {
	rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	return nodes
}
