package mirror

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// memory is an exchange.Store.
type memory map[digest.Digest][]byte

type memoryBlob struct {
	*bytes.Reader
}

func (memoryBlob) Close() error { return nil }

// Open implements exchange.Store.
func (m memory) Open(d digest.Digest) (exchange.Blob, bool) {
	content, ok := m[d]
	return memoryBlob{bytes.NewReader(content)}, ok
}

// add makes the layers of an image known and returns the sizes of those that are
// new.
func (m memory) add(t testing.TB, img v1.Image) (bytes int64) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		d, err := l.Digest()
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		content := readAll(t, r)
		r.Close()
		if m[digest.Digest(d.String())] == nil {
			bytes += int64(len(content))
		}
		m[digest.Digest(d.String())] = content
	}
	return bytes
}

// tracker serves the pieces of what is in a store.
func tracker(t testing.TB, m exchange.Store) (*exchange.Exchange, *exchange.Options) {
	t.Helper()
	x := exchange.New(exchange.Options{Store: m}, testLog(t))
	srv := httptest.NewTLSServer(wire.NewServer(x, slog.New(slog.DiscardHandler)).Handler(
		func(h http.Handler) http.Handler { return h }, func(*http.Request) string { return "node:1" }))
	t.Cleanup(srv.Close)
	nodes := srv.Client()
	t.Cleanup(nodes.CloseIdleConnections)
	addr := srv.Listener.Addr().String()
	network := wire.NewLinks(nodes)
	t.Cleanup(network.Close)
	return x, &exchange.Options{Network: network, Self: "node:1", Trackers: func() []string { return []string{addr} }}
}

// The next version of an image has the layers of the one before, and one more: only
// that travels.
func TestSharedLayers(t *testing.T) {
	up := startManager(t)
	first, err := random.Image(600_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	second, _ := above(t, first)
	have := memory{}
	sizeFirst, sizeMore := have.add(t, first), have.add(t, second)
	x, with := tracker(t, have)
	n := start(t, up.URL, Options{Exchange: with})

	n.pulled(up, "spider:1", first)
	got := n.Stats()
	if got.Pieces.FromTrackers != sizeFirst || got.FromCache != 0 {
		t.Errorf("of the first, %d of %d bytes came in pieces and %d from the cache", got.Pieces.FromTrackers,
			sizeFirst, got.FromCache)
	}
	n.stop() // the cache outlives it
	n = start(t, up.URL, Options{Exchange: with, Dir: n.opts.Dir})
	n.pulled(up, "spider:2", second)
	got = n.Stats()
	if got.Pieces.FromTrackers != sizeMore || got.FromCache != sizeFirst {
		t.Errorf("of the second, %d of %d bytes came in pieces and %d of %d from the cache", got.Pieces.FromTrackers,
			sizeMore, got.FromCache, sizeFirst)
	}
	if got.FromManager == 0 || got.FromManager > 10_000 || got.FromNodes != 0 { // manifest and config
		t.Errorf("%d bytes came whole from the manager, %d from nodes", got.FromManager, got.FromNodes)
	}
	if sent := x.Stats().Sent; sent != sizeFirst+sizeMore {
		t.Errorf("the manager sent %d bytes, want %d", sent, sizeFirst+sizeMore)
	}
}

// With the manager away another node stands in for it, and is not taken for it.
func TestTraffic_StandIn(t *testing.T) {
	up := startManager(t)
	img, d := image(t)
	up.push(t, "spider:1", img)
	first := start(t, up.URL, Options{})
	if err := pull(first.addr, "spider@"+d.String()); err != nil {
		t.Fatal(err)
	}
	first.awaitDownloads()
	if got := first.Stats(); got.FromManager < 300_000 || got.FromNodes != 0 {
		t.Errorf("the first got %d bytes from the manager and %d from nodes", got.FromManager, got.FromNodes)
	}
	kept := httptest.NewServer(first.Kept())
	t.Cleanup(kept.Close)
	up.away.Store(true)

	second := start(t, up.URL, Options{Source: &HTTPSource{
		Client: client(), Bases: func() []string { return []string{up.URL} },
		OthersClient: client(), Others: func() []string { return []string{kept.URL} },
	}})
	if err := pull(second.addr, "spider@"+d.String()); err != nil {
		t.Fatal(err)
	}
	if got := second.awaitDownloads(); got.FromManager != 0 || got.FromNodes < 300_000 {
		t.Errorf("the second got %d bytes from the manager and %d from nodes", got.FromManager, got.FromNodes)
	}
}
