package pieces

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// readStore counts what is read of blobs.
type readStore struct {
	exchange.Store
	bytes atomic.Int64
}

type readBlob struct {
	exchange.Blob
	bytes *atomic.Int64
}

func (s *readStore) Open(d digest.Digest) (exchange.Blob, bool) {
	b, ok := s.Store.Open(d)
	return readBlob{b, &s.bytes}, ok
}

func (b readBlob) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.Blob.ReadAt(p, off)
	b.bytes.Add(int64(n))
	return n, err
}

// TestCutter pushes an image. Its layer is read by itself, and not once more for the
// node that asks.
func TestCutter(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	var c *Cutter
	reg := openRegistry(t, registry.Options{Uploaded: func(d digest.Digest) { c.Add(d) }})
	store := &readStore{Store: Store{reg}}
	x := exchange.New(exchange.Options{Store: store}, log)
	c = NewCutter(x, log)
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { _ = c.Run(ctx) })
	defer ended.Wait()
	defer cancel()
	direct := httptest.NewServer(reg.Handler())
	defer direct.Close()

	img := (&pullCluster{t: t, direct: direct}).push("spider:1")
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	size, err := layers[0].Size()
	if err != nil {
		t.Fatal(err)
	}
	name, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); store.bytes.Load() < size; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d bytes were read", store.bytes.Load(), size)
		}
	}
	table, err := x.Table(digest.Digest(name.String()))
	if err != nil || table.Size != size {
		t.Fatalf("table %+v, %v; want one of %d bytes", table, err, size)
	}
	if got := store.bytes.Load(); got != size {
		t.Errorf("%d bytes were read, want %d", got, size)
	}
}

// What finds no place is left, and nobody waits.
func TestCutter_Full(t *testing.T) {
	t.Parallel()
	c := NewCutter(nil, nil)
	for range 2 * cutQueue {
		c.Add("sha256:a")
	}
	if len(c.pushed) != cutQueue {
		t.Errorf("%d wait, want %d", len(c.pushed), cutQueue)
	}
}
