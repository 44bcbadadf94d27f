package pki

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
)

// renewRetry is the longest pause after a renewal that failed. Half the life of
// a certificate, 45 days, is left for tries.
const renewRetry = time.Hour

// epochSpread is the time over which nodes get certificates of another epoch.
const epochSpread = 10 * time.Second

// Renewal is KeepRenewed as a part of a node.
func Renewal(id *Identity, renew func(context.Context) error, log *slog.Logger) lifecycle.Part {
	return lifecycle.Background("certificate", func(ctx context.Context) error {
		return KeepRenewed(ctx, id, renew, log)
	})
}

// KeepRenewed renews the certificate whenever it is past half its life, or a manager
// wants it of another epoch, until ctx ends. renew is id.Renew, or Reissue on the manager that has the CA. It returns
// nil.
func KeepRenewed(ctx context.Context, id *Identity, renew func(context.Context) error, log *slog.Logger) error {
	for {
		// Spread over an hour, so that nodes which joined together do not all come
		// at once.
		spread := min(renewRetry, NodeLife()/20)
		timer := time.NewTimer(max(0, time.Until(id.renewAt())) + rand.N(spread))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-id.renew:
			_ = clock.Sleep(ctx, rand.N(min(spread, epochSpread)))
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
		for err := renew(ctx); err != nil; err = renew(ctx) {
			log.Warn("failed to renew the certificate", "error", err, "until", id.Certificate().Leaf.NotAfter)
			if clock.Sleep(ctx, spread) != nil {
				return nil
			}
		}
		log.Info("renewed the certificate", "until", id.Certificate().Leaf.NotAfter)
	}
}

// RenewSoon has KeepRenewed renew the certificate before it is due.
func (id *Identity) RenewSoon() {
	select {
	case id.renew <- struct{}{}:
	default: // one token is enough
	}
}

// NeedsRenewal reports whether the certificate is past half its life.
func (id *Identity) NeedsRenewal(now time.Time) bool { return !now.Before(id.renewAt()) }

// Expired reports whether the certificate is no longer of use.
func (id *Identity) Expired(now time.Time) bool { return now.After(id.Certificate().Leaf.NotAfter) }

// renewAt returns when half of the certificate's life is over. One on trial is renewed as
// soon as Docker should be in the swarm.
func (id *Identity) renewAt() time.Time {
	leaf := id.Certificate().Leaf
	if id.OnTrial() {
		return leaf.NotAfter.Add(TrialRenewal - TrialLife)
	}
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
}

// Problem says that the certificate is about to end and could not be renewed, and what to do;
// empty: it is good.
func (id *Identity) Problem() string {
	leaf, now := id.Certificate().Leaf, time.Now()
	left, life := leaf.NotAfter.Sub(now), leaf.NotAfter.Sub(leaf.NotBefore)
	if id.OnTrial() || left > life/4 {
		return ""
	}
	ends := leaf.NotAfter.Local().Format(time.DateTime)
	if left <= 0 {
		return fmt.Sprintf("the certificate of this node ended on %s, and no other node speaks to it; see why it was "+
			"not renewed with `journalctl -u crawlbox`, and whether this machine's clock is right", ends)
	}
	return fmt.Sprintf("the certificate of this node ends on %s and could not be renewed; the manager has to answer "+
		"it: look with `crawlbox doctor`, and for the reason with `journalctl -u crawlbox`", ends)
}

// Moved reports whether the certificate is for an address that the node had before it took
// another. A manager certifies an address only where the node comes from it.
func (id *Identity) Moved() bool {
	certified := slices.DeleteFunc(slices.Clone(id.Certificate().Leaf.IPAddresses), net.IP.IsLoopback)
	own := func(ip net.IP) bool { return ip.Equal(id.Self.Addr.AsSlice()) }
	return len(certified) > 0 && !slices.ContainsFunc(certified, own)
}

// OnTrial reports whether the certificate is one that a node gets before Swarm has it.
func (id *Identity) OnTrial() bool {
	leaf := id.Certificate().Leaf
	return leaf.NotAfter.Sub(leaf.NotBefore) <= TrialLife+skewMargin && TrialLife < NodeLife()
}
