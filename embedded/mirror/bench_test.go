package mirror

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// BenchmarkPull compares one blob straight from the upstream, through a mirror
// that fetches it, and through a mirror that has it.
func BenchmarkPull(b *testing.B) {
	const size = 64 << 20
	p := startPipeline(b, size, whole)
	n := start(b, p.URL, Options{})
	fetch := func(b *testing.B, url string) {
		b.Helper()
		resp, err := http.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.Copy(io.Discard, resp.Body); err != nil || got != size {
			b.Fatalf("%d bytes, %v", got, err)
		}
	}
	run := func(name, url string, before func()) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				b.StopTimer()
				before()
				b.StartTimer()
				fetch(b, url)
			}
		})
	}
	run("direct", p.URL+p.path(), func() {})
	run("cold", "http://"+n.addr+p.path(), func() { n.forget(p.digest) })
	fetch(b, "http://"+n.addr+p.path())
	n.awaitDownloads()
	run("warm", "http://"+n.addr+p.path(), func() {})
	http.DefaultClient.CloseIdleConnections()
}

// forget drops a blob from the cache.
func (n *node) forget(d digest.Digest) {
	n.awaitDownloads()
	n.cache.Forget(d)
}

// BenchmarkCPU gives the processor time for a GB that a client gets and throws away:
//
//	file-server           from a plain file server
//	file-server-TLS       the same over TLS
//	file-server-TLS-kept  the same by a client that checks its digest and writes it to disk
//	mirror                through a mirror, which has it from a manager over the nodes'
//	                      TLS, checks pieces and blob, writes it to disk and gives it on
//	mirror-again          from the mirror's disk
//
// Both ends and the client are in this process. Certificates are as those of nodes.
func BenchmarkCPU(b *testing.B) {
	const size = 512 << 20
	have := directory(b.TempDir())
	d := have.noise(b, size)
	files := http.FileServer(http.Dir(string(have)))
	plain, sealed := httptest.NewServer(files), serveTLS(b, files)
	b.Cleanup(plain.Close)
	b.Cleanup(http.DefaultClient.CloseIdleConnections)
	x := exchange.New(exchange.Options{Store: have}, slog.New(slog.DiscardHandler))
	manager := serveTLS(b, wire.NewServer(x, slog.New(slog.DiscardHandler)).Handler(
		func(h http.Handler) http.Handler { return h }, func(*http.Request) string { return "node:1" }))
	network := wire.NewLinks(manager.Client())
	b.Cleanup(network.Close)
	n := startLogged(b, plain.URL, Options{Exchange: &exchange.Options{
		Network:  network,
		Self:     "node:1",
		Trackers: func() []string { return []string{manager.Listener.Addr().String()} },
	}}, slog.New(slog.DiscardHandler))
	if _, err := x.Table(d); err != nil { // as when a blob was pushed
		b.Fatal(err)
	}
	discard := func() io.Writer { return io.Discard }
	kept := func() io.Writer {
		file, err := os.Create(filepath.Join(b.TempDir(), "kept"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { file.Close() })
		return io.MultiWriter(file, d.Verifier())
	}
	for _, way := range []struct {
		name   string
		client *http.Client
		url    string
		to     func() io.Writer
		before func()
	}{
		{"file-server", http.DefaultClient, plain.URL + "/" + d.Encoded(), discard, func() {}},
		{"file-server-TLS", sealed.Client(), sealed.URL + "/" + d.Encoded(), discard, func() {}},
		{"file-server-TLS-kept", sealed.Client(), sealed.URL + "/" + d.Encoded(), kept, func() {}},
		{"mirror", http.DefaultClient, "http://" + n.addr + "/v2/spider/blobs/" + d.String(), discard, func() {
			n.forget(d)
		}},
		{"mirror-again", http.DefaultClient, "http://" + n.addr + "/v2/spider/blobs/" + d.String(), discard, func() {
			n.awaitDownloads()
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.SetBytes(size)
			var used time.Duration
			for b.Loop() {
				b.StopTimer()
				way.before()
				begun := cpu(b)
				b.StartTimer()
				resp, err := way.client.Get(way.url)
				if err != nil {
					b.Fatal(err)
				}
				got, err := io.Copy(way.to(), resp.Body)
				resp.Body.Close()
				if err != nil || got != size {
					b.Fatalf("%d bytes, %v", got, err)
				}
				used += cpu(b) - begun
			}
			b.ReportMetric(used.Seconds()/float64(b.N)/size*1e9, "cpu-s/GB")
		})
	}
	if got := n.Stats(); got.Pieces.FromTrackers < size || got.FromManager > 0 {
		b.Errorf("the mirror got %+v, want pieces from the manager only", got)
	}
}

// serveTLS serves with a certificate as nodes have: ECDSA with P-256.
func serveTLS(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	t.Cleanup(srv.Client().CloseIdleConnections)
	return srv
}

// cpu returns the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
