package wire

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The nodes here are real ones on loopback. What depends on time and on many nodes
// is simulated, in the other tests of this package, which have no race detector: it
// does not stand so many goroutines with a simulated clock (golang/go#78156).

// site is a node with an HTTPS server and a directory.
type site struct {
	*exchange.Exchange
	server  *Server
	network *Links
	t       testing.TB
	dir     string
	addr    string
	srv     *httptest.Server
	// before answers a request in the place of the exchange, if it says so.
	before atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

type diskBlob struct {
	*os.File
	size int64
}

func (b diskBlob) Size() int64 { return b.size }

// Open implements Store.
func (s *site) Open(d digest.Digest) (exchange.Blob, bool) {
	f, err := os.Open(filepath.Join(s.dir, d.Encoded()))
	if err != nil {
		return nil, false
	}
	fi, err := f.Stat()
	if err != nil {
		s.t.Error(err)
	}
	return diskBlob{f, fi.Size()}, true
}

func newSite(t testing.TB, o exchange.Options, change ...func(*http.Server)) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.server.Handler(s.admit, func(r *http.Request) string { return r.Header.Get("Node") }).ServeHTTP(w, r)
	}))
	for _, c := range change {
		c(s.srv.Config)
	}
	s.srv.StartTLS()
	t.Cleanup(s.srv.Close)
	s.addr = s.srv.Listener.Addr().String()
	client := &http.Client{Transport: named{s.srv.Client().Transport, s.addr}}
	t.Cleanup(client.CloseIdleConnections)
	network := NewLinks(client)
	t.Cleanup(network.Close)
	o.Store, o.MinSize, o.Self, o.Network = s, 1<<10, s.addr, network
	s.network = network
	log := slog.New(slog.DiscardHandler)
	s.Exchange = exchange.New(o, log)
	s.server = NewServer(s.Exchange, log)
	return s
}

// admit lets everybody in, and what is spoiled get in the way.
func (s *site) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before := s.before.Load(); before == nil || !(*before)(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// named says who asks: all these nodes have one address.
type named struct {
	http.RoundTripper
	addr string
}

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Node", n.addr)
	return n.RoundTripper.RoundTrip(r)
}

func (n named) CloseIdleConnections() { n.RoundTripper.(*http.Transport).CloseIdleConnections() }

// spoil lets something else answer the paths that end so.
func (s *site) spoil(suffix string, answer http.HandlerFunc) {
	f := func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
		answer(w, r)
		return true
	}
	s.before.Store(&f)
}

// put makes a blob on a node.
func (s *site) put(size int) ([]byte, digest.Digest) {
	s.t.Helper()
	data := make([]byte, size)
	rand.Read(data)
	d := digest.FromBytes(data)
	if err := os.WriteFile(filepath.Join(s.dir, d.Encoded()), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return data, d
}

// diskSink is a file that is renamed when it is whole.
type diskSink struct {
	s        *site
	d        digest.Digest
	file     *os.File
	readable atomic.Int64
}

type reopened struct{ *os.File }

func (r reopened) Open() (cut.ReadAtCloser, error) { return os.Open(r.Name()) }

func (k *diskSink) Make(int64) (cut.File, error) {
	f, err := os.CreateTemp(k.s.dir, "new")
	k.file = f
	return reopened{f}, err
}

func (k *diskSink) Grown(readable int64) { k.readable.Store(readable) }

func (k *diskSink) Keep() error {
	return os.Rename(k.file.Name(), filepath.Join(k.s.dir, k.d.Encoded()))
}

// get fetches a blob and checks what came.
func (s *site) get(ctx context.Context, d digest.Digest, want []byte) error {
	k := &diskSink{s: s, d: d}
	err := s.Fetch(ctx, d, k)
	if k.file != nil {
		defer k.file.Close()
	}
	if err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(s.dir, d.Encoded()))
	if err != nil || !bytes.Equal(got, want) || k.readable.Load() != int64(len(want)) {
		return fmt.Errorf("%d of %d bytes, %d readable, %w", len(got), len(want), k.readable.Load(), err)
	}
	return nil
}

func newSites(t testing.TB, n int, o exchange.Options) (manager *site, sites []*site) {
	manager = newSite(t, exchange.Options{Copies: 1})
	o.Trackers = func() []string { return []string{manager.addr} }
	for range n {
		sites = append(sites, newSite(t, o))
	}
	return manager, sites
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	manager, sites := newSites(t, 5, exchange.Options{})
	data, d := manager.put(20<<20 + 5)
	var wg sync.WaitGroup
	for _, s := range sites {
		wg.Go(func() {
			if err := s.get(t.Context(), d, data); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if sent := float64(manager.Stats().Sent) / float64(len(data)); sent >= float64(len(sites)) {
		t.Errorf("the manager sent %.1f copies", sent)
	}
	var peers int64
	for _, s := range sites {
		peers += s.Stats().FromPeers
	}
	if peers == 0 {
		t.Error("nothing came from peers")
	}
}

// TestHTTP_OneConnection asks one node for several blobs at the same moment: a TLS
// handshake costs as much processor time as a piece.
func TestHTTP_OneConnection(t *testing.T) {
	t.Parallel()
	manager, sites := newSites(t, 3, exchange.Options{})
	var upgrades atomic.Int32
	count := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == framesPath {
			upgrades.Add(1)
		}
		return false
	}
	manager.before.Store(&count)
	blobs := map[digest.Digest][]byte{}
	for range 4 {
		data, d := manager.put(2 << 20)
		blobs[d] = data
	}
	var wg sync.WaitGroup
	for d, data := range blobs {
		for _, s := range sites {
			wg.Go(func() {
				if err := s.get(t.Context(), d, data); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if n := int(upgrades.Load()); n != len(sites) {
		t.Errorf("%d nodes made %d connections to the manager, want one each", len(sites), n)
	}
}

func TestHTTP_BadNodes(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"wrong bytes": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(pieceHeader, "3")
			_, _ = w.Write(make([]byte, 1<<20))
		},
		"breaks off": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(pieceHeader, "3")
			w.Header().Set("Content-Length", "1048576")
			_, _ = w.Write(make([]byte, 1000))
			panic(http.ErrAbortHandler)
		},
		"fails":       func(http.ResponseWriter, *http.Request) { panic("for no reason") },
		"no piece":    func(w http.ResponseWriter, r *http.Request) {},
		"other piece": func(w http.ResponseWriter, r *http.Request) { w.Header().Set(pieceHeader, "-7") },
		"error":       func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) },
		"does not say": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client left
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			manager, sites := newSites(t, 3, exchange.Options{})
			data, d := manager.put(8 << 20)
			if err := sites[0].get(t.Context(), d, data); err != nil {
				t.Fatal(err)
			}
			sites[0].spoil("/take", answer)
			for _, s := range sites[1:] {
				if err := s.get(t.Context(), d, data); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestHTTP_BadTableAndNews(t *testing.T) {
	t.Parallel()
	manager, sites := newSites(t, 2, exchange.Options{})
	data, d := manager.put(3 << 20)
	manager.spoil(d.String(), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "no table") })
	if err := sites[0].get(t.Context(), d, data); err == nil || !strings.Contains(err.Error(), cut.ErrTable.Error()) {
		t.Error(err)
	}
	manager.before.Store(nil)
	if err := sites[0].get(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	sites[0].spoil("/news", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"have":"`+strings.Repeat("A", 1<<20)+`"}`)
	})
	if err := sites[1].get(t.Context(), d, data); err != nil {
		t.Error(err)
	}
}

func TestHTTP_Statuses(t *testing.T) {
	t.Parallel()
	manager, sites := newSites(t, 1, exchange.Options{})
	_, d := manager.put(2 << 20)
	n := sites[0].network
	none := digest.FromString("none")
	if _, err := n.Table(t.Context(), manager.addr, none); !errors.Is(err, exchange.ErrUnknown) {
		t.Errorf("table of nothing: %v", err)
	}
	_, small := manager.put(100)
	if _, err := n.Table(t.Context(), manager.addr, small); !errors.Is(err, exchange.ErrUnknown) {
		t.Errorf("table of a small blob: %v", err)
	}
	if err := n.Take(t.Context(), manager.addr, d, exchange.Ask{Piece: 2},
		&landed{}); !errors.Is(err, exchange.ErrUnknown) {
		t.Errorf("a piece beyond the end: %v", err)
	}
	if err := n.Follow(t.Context(), manager.addr, none,
		func(exchange.News) { t.Error("news of nothing") }); !errors.Is(err, exchange.ErrUnknown) {
		t.Errorf("news of nothing: %v", err)
	}
	for i := range 3 { // one copy of two pieces
		to := landed{room: make([]byte, 1<<20)}
		err := n.Take(t.Context(), manager.addr, d, exchange.Ask{Piece: -1, Want: cut.Full(2)}, &to)
		if (err == nil) != (i < 2) || i == 2 && !errors.Is(err, exchange.ErrEnough) || err == nil && to.got != 1<<20 {
			t.Errorf("take %d: %d bytes, %v", i, to.got, err)
		}
	}
	for range 4 { // all slots
		_, _, body, err := manager.Take(t.Context(), d, exchange.Ask{Piece: 0})
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
	}
	if err := n.Take(t.Context(), manager.addr, d, exchange.Ask{Piece: 0},
		&landed{}); !errors.Is(err, exchange.ErrBusy) {
		t.Errorf("beyond the slots: %v", err)
	}
	for path, want := range map[string]int{
		Path + "sha256:short": http.StatusNotFound, Path + d.String() + "/other": http.StatusNotFound,
		Path + d.String() + "/join": http.StatusMethodNotAllowed, Path + "../../etc/passwd": http.StatusNotFound,
	} {
		resp, err := manager.srv.Client().Get(manager.srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
	}
}

// landed takes a piece that nobody needs.
type landed struct {
	room []byte
	got  int
	more func(got int) error
}

func (l *landed) Begin(int) ([]byte, error) { return l.room, nil }

func (l *landed) Got(n int) error {
	if l.got += n; l.more != nil {
		return l.more(l.got)
	}
	return nil
}

// The limits hold, give or take the burst.
func TestHTTP_Limits(t *testing.T) {
	t.Parallel()
	for _, o := range []exchange.Options{
		{Download: rate.NewLimiter(4<<20, 64<<10)},
		{Upload: rate.NewLimiter(4<<20, 64<<10)},
	} {
		manager := newSite(t, exchange.Options{Upload: o.Upload})
		node := newSite(t, exchange.Options{
			Trackers: func() []string { return []string{manager.addr} },
			Download: o.Download,
		})
		data, d := manager.put(2 << 20)
		begun := time.Now()
		if err := node.get(t.Context(), d, data); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 450*time.Millisecond {
			t.Errorf("2 MiB at 4 MiB/s took %v", took)
		}
	}
}
