package mirror

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
)

// directory is an exchange.Store: blobs are files named by their digests.
type directory string

type directoryBlob struct {
	*os.File
	size int64
}

func (b directoryBlob) Size() int64 { return b.size }

// Open implements exchange.Store.
func (f directory) Open(d digest.Digest) (exchange.Blob, bool) {
	file, err := os.Open(filepath.Join(string(f), d.Encoded()))
	if err != nil {
		return nil, false
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, false
	}
	return directoryBlob{file, info.Size()}, true
}

// noise makes a blob that was never in memory.
func (f directory) noise(t testing.TB, size int64) digest.Digest {
	t.Helper()
	file, err := os.Create(filepath.Join(string(f), "new"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sum := digest.Canonical.Digester()
	if _, err := io.CopyN(io.MultiWriter(file, sum.Hash()), rand.NewChaCha8([32]byte{}), size); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file.Name(), filepath.Join(string(f), sum.Digest().Encoded())); err != nil {
		t.Fatal(err)
	}
	return sum.Digest()
}

// serveBlobs returns an upstream that has them.
func (f directory) serveBlobs(t testing.TB) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		d, err := digest.Parse(filepath.Base(req.URL.Path))
		if err != nil {
			http.NotFound(w, req)
			return
		}
		http.ServeFile(w, req, filepath.Join(string(f), d.Encoded()))
	}))
	t.Cleanup(srv.Close)
	return srv
}

// TestMemory holds that no blob is in memory as a whole, on its way from the manager
// to Docker: neither in the mirror nor, as both are in this process, where it comes
// from.
func TestMemory(t *testing.T) {
	const blob, most = 96 << 20, 48 << 20 // bytes
	have := directory(t.TempDir())
	d := have.noise(t, blob)
	up := have.serveBlobs(t)
	_, pieces := tracker(t, have)
	for name, o := range map[string]Options{"in pieces": {Exchange: pieces}, "whole": {}} {
		t.Run(name, func(t *testing.T) {
			n := startLogged(t, up.URL, o, slog.New(slog.DiscardHandler))
			highest := watchHeap(t)
			resp, err := http.Get("http://" + n.addr + "/v2/spider/blobs/" + d.String())
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			http.DefaultClient.CloseIdleConnections()
			if err != nil || got != blob {
				t.Fatalf("%d of %d bytes, %v", got, blob, err)
			}
			heap := highest()
			if t.Logf("%d MB", heap>>20); heap > most {
				t.Errorf("the heap grew by %d MB, more than %d", heap>>20, most>>20)
			}
		})
	}
}

// watchHeap looks at the heap all the time, until highest is called, which returns
// by how many bytes it has grown at the most.
func watchHeap(t testing.TB) (highest func() int64) {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := int64(m.HeapInuse), int64(0)
	end := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				runtime.ReadMemStats(&m)
				most = max(most, int64(m.HeapInuse)-before)
			case <-end:
				return
			}
		}
	})
	stop := sync.OnceFunc(func() { close(end); ended.Wait() })
	t.Cleanup(stop)
	return func() int64 { stop(); return most }
}
