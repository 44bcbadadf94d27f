package owner

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/agent"
)

// request names a connection by its ends as the node sees them: its own, and the
// manager's, which may have several addresses.
type request struct {
	Local  netip.AddrPort   `json:"local"`
	Remote []netip.AddrPort `json:"remote"` // at most maxRemotes
}

const maxRemotes = 4

type answer struct {
	Docker bool `json:"docker"`
}

// call asks a node whose a connection is that came from the node's address: of its Docker
// Engine, which may read images, or of any other program there, such as a spider, which may
// not. Docker itself can't prove it: it pulls for a service without credentials, and the
// containerd image store has trouble with client certificates.
var call = agent.Call[request, answer]{
	Route:      agent.RouteOwner,
	MaxRequest: 4 << 10,
	MaxAnswer:  4 << 10,
	Timeout:    proofTimeout,
	Valid:      func(r request) bool { return len(r.Remote) <= maxRemotes },
	Invalid:    "not a question about a connection",
}

// Answer answers whose a connection of this node is.
func Answer(p *Prover, log *slog.Logger) agent.Handler {
	return call.Handler(log, func(ctx context.Context, _ agent.Peer, r request) (a answer, _ error) {
		for _, remote := range r.Remote {
			own, err := p.owns(ctx, r.Local, remote)
			if err != nil {
				log.Debug("failed to find out who asks the manager's registry", "local", r.Local, "remote", remote,
					"error", err)
				continue
			}
			if a.Docker = own; own {
				break
			}
		}
		return a, nil
	})
}
