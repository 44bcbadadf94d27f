//go:build !race

package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

// A world is a network of nodes in memory, with network cards of limited speed, to
// be used with testing/synctest's clock. Blobs are small and count for more: one
// byte of them stands for simScale bytes on the wire.
const (
	simScale = 1 << 10
	simPiece = 1 << 10 // bytes of a piece, so 1 MiB on the wire
	simChunk = 64      // bytes that are sent at a time
	simRTT   = time.Millisecond
)

var errCut = errors.New("no answer")

type world struct {
	mu    sync.Mutex
	nodes map[string]*simNode
	rng   *rand.Rand
}

func newWorld(seed uint64) *world {
	return &world{nodes: map[string]*simNode{}, rng: rand.New(rand.NewPCG(seed, 1))}
}

// simNode is a node, its network card and its disk.
type simNode struct {
	*Exchange
	w        *world
	addr     string
	up, down card

	mu     sync.Mutex
	dead   bool
	island int // nodes of another island are not reached
	blobs  map[digest.Digest][]byte
	most   int // pieces sent at a time, the highest number seen
	now    int
	// give replaces what Take answers, for a node that does not do as it should.
	give func(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error)
	// claim replaces what the node says that it has.
	claim func(cut.Bitmap) cut.Bitmap
}

// card is one direction of a network card. A sender waits for its turn.
type card struct {
	rate float64 // bytes a second; 0: no limit
	mu   sync.Mutex
	free time.Time
}

// reserve returns when n bytes have gone through the card.
func (c *card) reserve(now time.Time, n int) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rate == 0 {
		return now
	}
	if c.free.Before(now) {
		c.free = now
	}
	c.free = c.free.Add(time.Duration(float64(n*simScale) / c.rate * float64(time.Second)))
	return c.free
}

// chunk returns how many bytes are sent at a time: less on a slow line, where others
// wait for them.
func (c *card) chunk() int {
	if c.rate == 0 {
		return simChunk
	}
	return max(1, min(simChunk, int(c.rate/20/simScale)))
}

// add makes a node with a card of so many bits a second.
func (w *world) add(addr string, bits float64, o Options) *simNode {
	n := &simNode{
		w:     w,
		addr:  addr,
		up:    card{rate: bits / 8},
		down:  card{rate: bits / 8},
		blobs: map[digest.Digest][]byte{},
	}
	o.Store, o.MinSize, o.Self, o.Network = n, 1, addr, simNetwork{n}
	n.Exchange = New(o, slog.New(slog.DiscardHandler))
	n.slowRate = slowRate / simScale
	n.pieceSize = func(int64) int64 { return simPiece }
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[addr] = n
	return n
}

func (n *simNode) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

type memBlob struct{ *bytes.Reader }

func (memBlob) Close() error { return nil }

// Open implements Store.
func (n *simNode) Open(d digest.Digest) (Blob, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b, ok := n.blobs[d]
	return memBlob{bytes.NewReader(b)}, ok
}

// reach finds another node, after the time that a question takes.
func (n *simNode) reach(ctx context.Context, addr string) (*simNode, error) {
	if err := clock.Sleep(ctx, simRTT); err != nil {
		return nil, err
	}
	n.w.mu.Lock()
	other := n.w.nodes[addr]
	n.w.mu.Unlock()
	if other == nil || !n.reaches(other) {
		return nil, errCut
	}
	return other, nil
}

func (n *simNode) reaches(other *simNode) bool {
	n.mu.Lock()
	island, dead := n.island, n.dead
	n.mu.Unlock()
	other.mu.Lock()
	defer other.mu.Unlock()
	return !other.dead && !dead && other.island == island
}

func (n *simNode) askTable(ctx context.Context, node string, d digest.Digest) (*cut.Table, error) {
	other, err := n.reach(ctx, node)
	if err != nil {
		return nil, err
	}
	return other.Exchange.Table(d)
}

// The network of a node, under names that do not hide the exchange's own methods.
type simNetwork struct{ n *simNode }

func (s simNetwork) Table(ctx context.Context, node string, d digest.Digest) (*cut.Table, error) {
	return s.n.askTable(ctx, node, d)
}

func (s simNetwork) Join(ctx context.Context, tracker string, d digest.Digest) ([]string, error) {
	other, err := s.n.reach(ctx, tracker)
	if err != nil {
		return nil, err
	}
	return other.Exchange.Join(s.n.addr, d), nil
}

func (s simNetwork) Follow(ctx context.Context, node string, d digest.Digest, see func(News)) error {
	other, err := s.n.reach(ctx, node)
	if err != nil {
		return err
	}
	return other.Exchange.Follow(ctx, s.n.addr, d, func(news News) error {
		if !s.n.reaches(other) {
			return errCut
		}
		if other.claim != nil {
			news.Have = other.claim(news.Have)
		}
		see(news)
		return nil
	})
}

func (s simNetwork) Take(ctx context.Context, node string, d digest.Digest, ask Ask, to Landing) error {
	other, err := s.n.reach(ctx, node)
	if err != nil {
		return err
	}
	piece, _, body, err := other.Exchange.Take(ctx, d, ask)
	if err != nil {
		return err
	}
	var give func(context.Context, io.ReadCloser) (io.ReadCloser, error)
	other.set(func() { other.now++; other.most, give = max(other.most, other.now), other.give })
	wire := io.ReadCloser(&wire{ctx: ctx, from: other, to: s.n, ReadCloser: body})
	if give != nil {
		if wire, err = give(ctx, wire); err != nil {
			return err
		}
	}
	defer wire.Close()
	return land(wire, piece, to)
}

// land brings a piece to where it belongs.
func land(body io.Reader, piece int, to Landing) error {
	room, err := to.Begin(piece)
	for err == nil && len(room) > 0 {
		var n int
		n, err = body.Read(room)
		room = room[n:]
		err = errors.Join(err, to.Got(n))
	}
	if len(room) == 0 || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// wire is a piece on its way from one card to another.
type wire struct {
	io.ReadCloser
	ctx      context.Context
	from, to *simNode
}

func (w *wire) Read(p []byte) (int, error) {
	if !w.to.reaches(w.from) {
		return 0, errCut
	}
	n, err := w.ReadCloser.Read(p[:min(len(p), w.from.up.chunk(), w.to.down.chunk())])
	now := time.Now()
	at := w.from.up.reserve(now, n)
	if t := w.to.down.reserve(now, n); t.After(at) {
		at = t
	}
	if wait := at.Sub(now); wait > 0 {
		if err := clock.Sleep(w.ctx, wait); err != nil {
			return 0, err
		}
	}
	return n, err
}

func (w *wire) Close() error {
	w.from.set(func() { w.from.now-- })
	return w.ReadCloser.Close()
}

// memFile is a sink in memory. It sees to it that nothing can be read that is not
// right.
type memFile struct {
	mu       sync.Mutex
	n        *simNode
	want     []byte
	d        digest.Digest
	data     []byte
	readable int64
	wrong    error
}

func (f *memFile) Make(size int64) (cut.File, error) {
	f.data = make([]byte, size)
	return f, nil
}

func (f *memFile) Grown(readable int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if readable < f.readable || !bytes.Equal(f.data[:readable], f.want[:readable]) {
		f.wrong = fmt.Errorf("the first %d bytes are not right", readable)
	}
	f.readable = readable
}

func (f *memFile) Keep() error {
	f.n.set(func() { f.n.blobs[f.d] = f.data })
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return bytes.NewReader(f.data).ReadAt(p, off)
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return copy(f.data[off:], p), nil
}

func (f *memFile) Open() (cut.ReadAtCloser, error) { return nopCloser{f}, nil }

type nopCloser struct{ io.ReaderAt }

func (nopCloser) Close() error { return nil }

// fetch brings a blob onto a node and checks it.
func (n *simNode) fetch(ctx context.Context, d digest.Digest, want []byte) error {
	f := &memFile{n: n, want: want, d: d}
	if err := n.Fetch(ctx, d, f); err != nil {
		return fmt.Errorf("%s: %w", n.addr, err)
	}
	if f.wrong == nil && f.readable != int64(len(want)) {
		f.wrong = fmt.Errorf("%d of %d bytes can be read", f.readable, len(want))
	}
	if f.wrong != nil {
		return fmt.Errorf("%s: %w", n.addr, f.wrong)
	}
	return nil
}

// blob makes one of so many pieces.
func (w *world) blob(pieces int) ([]byte, digest.Digest) {
	b := make([]byte, pieces*simPiece-100)
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return b, digest.FromBytes(b)
}

func (w *world) names(except string) (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := range w.nodes {
		if a != except {
			list = append(list, a)
		}
	}
	return list
}
