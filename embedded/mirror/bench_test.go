package mirror

import (
	"io"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
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
	n.settled()
	run("warm", "http://"+n.addr+p.path(), func() {})
	http.DefaultClient.CloseIdleConnections()
}

// forget drops a blob from the cache.
func (n *node) forget(d digest.Digest) {
	n.settled()
	n.cache.forget(d)
}
