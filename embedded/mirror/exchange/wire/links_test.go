package wire

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
)

// TestLinks_NobodyThere: of nodes that do not answer nothing is kept.
func TestLinks_NobodyThere(t *testing.T) {
	t.Parallel()
	s := newSite(t, exchange.Options{})
	links := s.network
	for n := range 200 {
		if _, err := links.Table(t.Context(), fmt.Sprintf("127.0.0.%d:1", n+1),
			digest.FromString(fmt.Sprint(n))); err == nil {
			t.Fatal("somebody answers")
		}
	}
	links.Close() // waits for those that are being forgotten
	links.mu.Lock()
	defer links.mu.Unlock()
	if len(links.links) > 0 {
		t.Errorf("%d connections are remembered", len(links.links))
	}
}
