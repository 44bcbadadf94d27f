package enroll

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
)

// Join makes this machine a node of the string's cluster and keeps its identity
// in dir. It asks the managers in the order of the string; each gets 5 s to
// shake hands and 15 s to answer.
//
// Where dir has an identity of that cluster, Join returns it without asking
// anyone, unless its certificate has expired: then it gets a new one for the same
// node. Errors: ErrOtherCluster, ErrOtherRole, one of the refusals, or a
// *ManagersError that says why each manager could not be used.
func Join(ctx context.Context, dir string, s token.JoinToken, self pki.Self, log *slog.Logger) (*pki.Identity, error) {
	id, err := pki.LoadIdentity(dir)
	switch {
	case errors.Is(err, pki.ErrNotJoined):
		return Rejoin(ctx, dir, s, self, log)
	case err != nil:
		return nil, err
	case id.CA() != s.CA:
		return nil, pki.ErrOtherCluster
	case id.Node.Role != s.Role:
		return nil, pki.ErrOtherRole
	case id.Expired(time.Now()):
		return Rejoin(ctx, dir, s, self, log)
	}
	return id, nil
}

// Rejoin joins as the node that dir has the key of, whatever certificate it has: for one
// whose certificate gets no Swarm join token. It fails as Join does.
func Rejoin(ctx context.Context, dir string, s token.JoinToken, self pki.Self,
	log *slog.Logger) (*pki.Identity, error) {
	key, csr, err := pki.NodeKey(dir)
	if err != nil {
		return nil, err
	}
	req := joinRequest{
		Version:  wireVersion,
		Token:    s.Token,
		Secret:   s.Secret[:],
		Role:     s.Role,
		CSR:      csr,
		Name:     self.Name,
		Addr:     self.Addr,
		Crawlbox: self.Version,
	}
	if err := req.check(); err != nil {
		return nil, fmt.Errorf("join as %q at %s: %w", self.Name, self.Addr, err)
	}
	failpoint.Hit(failpoint.JoinKey)
	failed := &ManagersError{}
	for _, addr := range s.Managers {
		answer, sent, err := ask(ctx, addr, s.CA, req, log)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("join through manager %s: %w", addr, ctx.Err())
		}
		if isFinal(err) {
			return nil, fmt.Errorf("join through manager %s: %w", addr, err)
		}
		if err != nil {
			failed.Tries = append(failed.Tries, Try{Addr: addr, Err: err})
			failed.Unheard = failed.Unheard || sent && !isRefusal(err) && !errors.Is(err, errNotManager)
			continue
		}
		return accept(dir, key, self, addr, answer)
	}
	return nil, failed
}

// isFinal reports whether other managers would answer the same.
func isFinal(err error) bool {
	final := []error{
		token.ErrBadSecret, token.ErrExpiredToken, token.ErrRevoked, token.ErrUsedUp, token.ErrWrongRole, ErrTooMany,
		pki.ErrRemoved, ErrVersion, ErrBadRequest, ErrClock,
	}
	return slices.ContainsFunc(final, func(e error) bool { return errors.Is(err, e) })
}

// ask runs the exchange with one manager. The secret is sent only after pin has
// found the right CA and the certificate is good; sent reports whether it was.
func ask(ctx context.Context, addr netip.AddrPort, hash pki.KeyHash, req joinRequest,
	log *slog.Logger) (answer *joinAnswer, sent bool, err error) {
	p := &pin{hash: hash}
	conn, err := dial(ctx, addr, &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection checks against the string's CA
		VerifyConnection:   p.verify,
	})
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	client := connHTTP(conn)
	defer client.CloseIdleConnections()
	base := "https://" + addr.String()
	if p.expired != nil {
		told, err := get(ctx, client, base+pathTime)
		if err != nil {
			return nil, false, err
		}
		return nil, false, explainClock(told, time.Now(), p.expired)
	}
	answer = &joinAnswer{}
	told, err := post(ctx, client, base+pathJoin, req, answer)
	if err != nil {
		return nil, true, err
	}
	if skew := time.Until(told); skew.Abs() > maxSkew {
		log.Warn("this machine's clock is "+skewText(skew.Round(time.Second))+" the manager's: set it", "manager", addr)
	}
	return answer, true, answer.check(p.ca, req.Role, told)
}

// check looks at what the manager gave before anything is kept.
func (a *joinAnswer) check(ca *x509.Certificate, role string, told time.Time) error {
	leaf, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		return errNotManager
	}
	if now := time.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return explainClock(told, now, errors.New("the certificate it gave is not valid now"))
	}
	info, err := pki.InfoFrom(leaf)
	if err != nil || info.Role != role || !a.GossipKeys.Good() || !slices.Equal(a.CA, ca.Raw) {
		return errNotManager
	}
	return nil
}

// accept keeps what a manager gave. The address that worked comes first among
// the managers: behind NAT they may know themselves by another.
func accept(dir string, key *ecdsa.PrivateKey, self pki.Self, addr netip.AddrPort,
	a *joinAnswer) (*pki.Identity, error) {
	ca, err := x509.ParseCertificate(a.CA)
	if err != nil {
		return nil, fmt.Errorf("join through manager %s: %w", addr, err)
	}
	a.Membership.Managers = first(addr, a.Managers)
	id := pki.NewIdentity(dir, key, ca, self, a.Membership)
	id.StartDelay = min(max(a.StartDelay, 0), 2*minStartDelay)
	id.ManagerAnswered()
	if err := id.Use(a.Certificate); err != nil {
		return nil, fmt.Errorf("join through manager %s: %w", addr, err)
	}
	failpoint.Hit(failpoint.JoinAnswered)
	if err := id.Save(); err != nil {
		return nil, err
	}
	failpoint.Hit(failpoint.JoinIdentity)
	return id, nil
}

func first(addr netip.AddrPort, others []netip.AddrPort) []netip.AddrPort {
	rest := slices.DeleteFunc(slices.Clone(others), func(o netip.AddrPort) bool { return o == addr })
	return append([]netip.AddrPort{addr}, rest...)
}
