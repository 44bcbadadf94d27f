package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

// shelf is a store of one blob that says how many read it at a time.
type shelf struct {
	content       []byte
	reading, most atomic.Int64
	gate          chan struct{} // a byte can be read once it is closed
}

type shelved struct{ *shelf }

func (s *shelf) Open(d digest.Digest) (Blob, bool) {
	return shelved{s}, d.Algorithm() == digest.SHA256 && d != nowhere
}

func (s shelved) Size() int64  { return int64(len(s.content)) }
func (s shelved) Close() error { return nil }

func (s shelved) ReadAt(p []byte, off int64) (int, error) {
	n := s.reading.Add(1)
	defer s.reading.Add(-1)
	for {
		had := s.most.Load()
		if n <= had || s.most.CompareAndSwap(had, n) {
			break
		}
	}
	<-s.gate
	if off >= int64(len(s.content)) {
		return 0, io.EOF
	}
	return copy(p, s.content[off:]), nil
}

var nowhere = digest.FromString("nowhere")

func made(n int) digest.Digest { return digest.FromString(fmt.Sprint("made up ", n)) }

// only is a store of one blob.
type only struct {
	digest  digest.Digest
	content []byte
}

func (o only) Open(d digest.Digest) (Blob, bool) {
	return opened{bytes.NewReader(o.content)}, d == o.digest
}

type opened struct{ *bytes.Reader }

func (opened) Close() error { return nil }

// TestExchange_MadeUpBlobs: a node that asks for blobs that are not here has nothing
// remembered of them, in place of those that are.
func TestExchange_MadeUpBlobs(t *testing.T) {
	t.Parallel()
	content := make([]byte, 1<<16)
	d := digest.FromBytes(content)
	s := New(Options{Store: only{d, content}, MinSize: 1}, slog.New(slog.DiscardHandler))
	s.Join("honest", d)
	if _, err := s.Table(d); err != nil {
		t.Fatal(err)
	}
	for n := range 4 * remembered {
		s.Join("evil", made(n))
		if err := s.Follow(t.Context(), "evil", made(n), func(News) error { return nil }); !errors.Is(err, ErrUnknown) {
			t.Fatalf("news of what is not here: %v", err)
		}
		if _, err := s.Table(made(n)); !errors.Is(err, ErrUnknown) {
			t.Fatalf("a table of what is not here: %v", err)
		}
		if _, _, _, err := s.Take(t.Context(), made(n), Ask{}); !errors.Is(err, ErrUnknown) {
			t.Fatalf("a piece of what is not here: %v", err)
		}
	}
	if got := s.Join("another", d); len(got) != 1 || got[0] != "honest" {
		t.Errorf("of what is here %v takes part", got)
	}
	if s.tracker.blobs.Len() != 1 || s.tables.known.Len() != 1 || s.given.Len() != 0 {
		t.Errorf("%d, %d and %d blobs are remembered", s.tracker.blobs.Len(), s.tables.known.Len(), s.given.Len())
	}
	for n := range 2 * trackedMost {
		s.Join(fmt.Sprint("node ", n), d)
	}
	if nodes, _ := s.tracker.blobs.Get(d); len(nodes) > trackedMost {
		t.Errorf("%d nodes of one blob are remembered", len(nodes))
	}
}

// TestTables_FewAtATime: a node that asks for the tables of all blobs has few of them
// read at a time, and few tables kept.
func TestTables_FewAtATime(t *testing.T) {
	t.Parallel()
	store := &shelf{content: make([]byte, 1<<12), gate: make(chan struct{})}
	x := New(Options{Store: store, MinSize: 1}, slog.New(slog.DiscardHandler))
	var wg sync.WaitGroup
	for n := range 2 * remembered {
		wg.Go(func() { _, _ = x.Table(made(n)) }) // the content is not what the name says
	}
	close(store.gate)
	wg.Wait()
	if store.most.Load() > maxMaking {
		t.Errorf("%d blobs were read at a time", store.most.Load())
	}
	d := digest.FromBytes(store.content)
	for n := range 2 * remembered {
		x.tables.keep(made(n), &cut.Table{})
		x.given.Add(made(n), &handout{})
		x.tracker.note(made(n), "node")
	}
	if _, err := x.Table(d); err != nil {
		t.Error(err)
	}
	if x.tables.known.Len() > remembered || x.given.Len() > remembered || x.tracker.blobs.Len() > remembered {
		t.Errorf("%d tables, %d handouts and %d blobs are remembered", x.tables.known.Len(), x.given.Len(),
			x.tracker.blobs.Len())
	}
}

// TestFetch_MadeUpNodes: a peer that names nodes without end has few of them remembered.
func TestFetch_MadeUpNodes(t *testing.T) {
	t.Parallel()
	x := New(Options{Network: refusing{}}, slog.New(slog.DiscardHandler))
	f := newFetch(t.Context(), x, cut.NewPartial(made(0), &cut.Table{Size: 1 << 20, Piece: 1 << 20}, true, nil,
		func(int64) {}))
	defer f.end()
	p := &peer{addr: "evil", have: cut.NewBitmap(1)}
	for n := range 100 {
		var names []string
		for k := range 1000 {
			names = append(names, fmt.Sprintf("10.0.%d.%d:7980", n, k))
		}
		f.hear(p, News{Nodes: names})
		f.meet(fmt.Sprint("came ", n), true)
	}
	if len(f.peers) > x.o.Peers+strangersMost || len(f.known) > knownMost {
		t.Errorf("%d peers and %d nodes are remembered", len(f.peers), len(f.known))
	}
	for range 1000 { // those that fail make room for others
		for _, p := range f.peers {
			f.drop(p)
		}
		f.meetAll([]string{"a", "b", "c"})
	}
	if len(f.peers)+len(f.known) > knownMost+2*(x.o.Peers+strangersMost) {
		t.Errorf("%d peers and %d nodes are remembered", len(f.peers), len(f.known))
	}
}

// refusing is a network on which nobody answers.
type refusing struct{ Network }

func (refusing) Follow(ctx context.Context, _ string, _ digest.Digest, _ func(News)) error {
	<-ctx.Done()
	return ctx.Err()
}
