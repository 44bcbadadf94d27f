// Package pieces ties the primary's registry to the exchange of pieces between nodes: the
// registry and the exchange are embedded and do not know each other. What is pushed is cut
// ahead of the first node that asks for it.
package pieces

import (
	"github.com/opencontainers/go-digest"
	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// Store is a registry as the exchange of pieces sees it.
type Store struct{ *registry.Registry }

func (s Store) Open(d digest.Digest) (exchange.Blob, bool) {
	b, err := s.OpenBlob(d)
	if err != nil {
		return nil, false
	}
	return b, true
}

// Options are those of the exchange that all nodes share, for a node that others know as self.
func Options(cfg configs.Mirror, network exchange.Network, self string) exchange.Options {
	return exchange.Options{
		Network:  network,
		Self:     self,
		Upload:   limit(int64(cfg.UploadRate)),
		Download: limit(int64(cfg.DownloadRate)),
	}
}

// limit limits to so many bytes a second; 0 means no limit.
func limit(bytes int64) *rate.Limiter {
	if bytes == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytes), 64<<10)
}
