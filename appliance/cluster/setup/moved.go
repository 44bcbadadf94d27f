package setup

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/doctor"
)

const (
	// moveCheck is how often a node that joined looks whether its machine has its address.
	moveCheck = 10 * time.Second
	// movedLooks is how often in a row another address has to be there: a lease may come back.
	movedLooks = 3
)

// AwaitMove returns what waits until this machine has had another address for a while than the node
// that joined runs at, and a new start would take it; see relocate. The ports and the certificate of
// a node are for one address, so that it does not change while it runs. The error, which is nil only
// when ctx ends, is to end the node where restarts says that somebody starts it again.
func (m *Machine) AwaitMove(id *pki.Identity, restarts bool) func(ctx context.Context) error {
	addr := id.Self.Addr
	return func(ctx context.Context) error {
		return awaitMove(ctx, addr, func() (netip.Addr, bool) {
			if !restarts || doctor.FindMoved(addr, false) == nil || Moved(m.Config) == nil {
				return netip.Addr{}, false
			}
			return outgoing(id.Membership().Managers)
		})
	}
}

// awaitMove is told by where what a start would take in place of addr, if it would.
func awaitMove(ctx context.Context, addr netip.Addr, where func() (to netip.Addr, moves bool)) error {
	var last netip.Addr
	looks := 0
	for clock.Sleep(ctx, moveCheck) == nil {
		to, moves := where()
		switch {
		case !moves:
			looks = 0
		case to != last:
			looks = 1
		default:
			looks++
		}
		if last = to; looks == movedLooks {
			return fmt.Errorf("this machine has the address %s now, and no longer %s; crawlbox starts again to take it",
				to, addr)
		}
	}
	return nil
}
