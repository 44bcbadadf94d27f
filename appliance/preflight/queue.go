package preflight

import (
	"context"
	"crypto/tls"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/doctor"
)

// QueueAt returns the port at which a node has the queue on loopback, and whether that speaks TLS, by what the node was
// told of it; 0: there is none.
type QueueAt func(told []byte) (port uint16, secured bool)

// queueHere looks whether programs of this machine get to the queue, where a node runs here and its cluster has one.
// What runs inside the node does not ask: that is a part's own matter.
func (x *examination) queueHere(ctx context.Context) []doctor.Finding {
	id, err := pki.LoadIdentity(setup.NodeDir(x.cfg))
	if err != nil || !x.runs || x.queueAt == nil {
		return nil
	}
	port, secured := x.queueAt(id.Membership().Queue)
	if q := x.cfg.Queue; q != nil && setup.StateOf(x.cfg) == setup.Created {
		port, secured = q.Port, q.TLS
	}
	if port == 0 {
		return nil
	}
	var config *tls.Config
	if secured {
		config = id.TrustingCA(doctor.Loopback.String())
	}
	return []doctor.Finding{doctor.QueueHere(ctx, netip.AddrPortFrom(doctor.Loopback, port), config)}
}
