package node

import (
	"net/http"
	"net/netip"

	"github.com/opencontainers/go-digest"
	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/embedded/gossip"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// pushed is the primary's registry as the exchange of pieces sees it.
type pushed struct{ *registry.Registry }

// Open implements exchange.Store.
func (p pushed) Open(d digest.Digest) (exchange.Blob, bool) {
	b, err := p.OpenBlob(d)
	if err != nil {
		return nil, false
	}
	return b, true
}

// exchanging are the options of the exchange that all nodes share.
func (n *Node) exchanging(network exchange.Network) exchange.Options {
	return exchange.Options{
		Network: network,
		Self:    n.nodeAddr(n.addr),
		Upload:  limiter(int64(n.cfg.Mirror.UploadRate)), Download: limiter(int64(n.cfg.Mirror.DownloadRate)),
	}
}

// limiter limits to so many bytes a second; 0 means no limit.
func limiter(rateLimit int64) *rate.Limiter {
	if rateLimit == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(rateLimit), 64<<10)
}

func (n *Node) nodeAddr(a netip.Addr) string {
	return netip.AddrPortFrom(a, n.cfg.Node.Port).String()
}

// alive returns the addresses of the other nodes that are up, as far as gossip has them
// where nodes are.
func (n *Node) alive(members []gossip.Member, at func(netip.AddrPort) bool) (list []string) {
	for _, m := range agent.Hints(members, n.addr, n.cfg.Node.Port, at) {
		if m.State == gossip.Alive {
			list = append(list, n.nodeAddr(m.Addr))
		}
	}
	return list
}

// asker names the node that sent a request as others reach it; empty: it is not known.
func (n *Node) asker(r *http.Request) string {
	addr := agent.AskerAddr(r)
	if !addr.IsValid() {
		return ""
	}
	return n.nodeAddr(addr)
}

// unguarded leaves the question who may exchange pieces to the table of calls.
func unguarded(h http.Handler) http.Handler { return h }
