package join

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// renewRetry is the longest pause after a renewal that failed. Half the life of
// a certificate, 45 days, is left for tries.
const renewRetry = time.Hour

// epochSpread is the time over which nodes get certificates of another epoch.
const epochSpread = 10 * time.Second

// Renew gets a new certificate for the node's key from one of the managers it
// knows, with what else is new of the cluster, and saves it. Connections that
// stand are not touched. A certificate that has expired cannot be renewed; Join
// with a join string replaces it.
func (id *Identity) Renew(ctx context.Context) error { return id.refresh(ctx, false) }

// RenewTicket does what Renew does, and gets a SwarmTicket too: for a node whose
// Docker must join the swarm again.
func (id *Identity) RenewTicket(ctx context.Context) error { return id.refresh(ctx, true) }

// DropTicket forgets the SwarmTicket, which is of no use once Docker has joined.
func (id *Identity) DropTicket() error {
	id.mu.Lock()
	id.member.Swarm = SwarmTicket{}
	id.mu.Unlock()
	return id.save()
}

func (id *Identity) refresh(ctx context.Context, ticket bool) error {
	csr, err := request(id.key)
	if err != nil {
		return err
	}
	req := renewRequest{Version: wireVersion, CSR: csr, Addr: id.Self.Addr, Ticket: ticket}
	failed := &ManagersError{}
	for _, addr := range id.Membership().Managers {
		answer, err := id.askRenewal(ctx, addr, req)
		if err != nil {
			failed.Tries = append(failed.Tries, Try{Addr: addr, Err: err})
			continue
		}
		if err := id.use(answer.Certificate); err != nil {
			return fmt.Errorf("use certificate of manager %s: %w", addr, err)
		}
		id.hearNow()
		return id.learn(addr, answer.Membership)
	}
	return fmt.Errorf("renew certificate: %w", failed)
}

func (id *Identity) askRenewal(ctx context.Context, addr netip.AddrPort, req renewRequest) (answer joinAnswer, err error) {
	conn, err := dial(ctx, addr, id.ClientTLS(fleet.RoleManager))
	if err != nil {
		return joinAnswer{}, err
	}
	defer conn.Close()
	client := connHTTP(conn)
	defer client.CloseIdleConnections()
	_, err = post(ctx, client, "https://"+addr.String()+pathRenew, req, &answer)
	return answer, err
}

// KeepRenewed renews the certificate whenever it is past half its life, or a manager
// wants it of another epoch, until ctx ends. renew is id.Renew, or Reissue on the manager that has the CA. It returns
// nil.
func KeepRenewed(ctx context.Context, id *Identity, renew func(context.Context) error, log *slog.Logger) error {
	for {
		// Spread over an hour, so that nodes which joined together do not all come
		// at once.
		spread := min(renewRetry, nodeLife()/20)
		timer := time.NewTimer(max(0, time.Until(id.renewAt())) + rand.N(spread))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-id.renew:
			sleep(ctx, rand.N(min(spread, epochSpread)))
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
		for err := renew(ctx); err != nil; err = renew(ctx) {
			log.Warn("renew certificate", "error", err, "until", id.Certificate().Leaf.NotAfter)
			if !sleep(ctx, spread) {
				return nil
			}
		}
		log.Info("renewed certificate", "until", id.Certificate().Leaf.NotAfter)
	}
}

// sleep waits and reports whether ctx still runs.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
