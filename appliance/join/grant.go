package join

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/members"
)

// admit lets a node in whose token is good. A use of the token is counted last,
// so that nothing but a broken disk can come after it.
func (s *Server) admit(r *http.Request, req joinRequest) (*joinAnswer, error) {
	if err := s.Tokens.check(req.Token, Secret(req.Secret), req.Role); err != nil {
		return nil, err
	}
	csr, err := checkRequest(req.CSR)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	node := idOf(csr.RawSubjectPublicKeyInfo)
	if s.Members.WasRemoved(node) {
		return nil, ErrRemoved
	}
	if !s.signs.Allow(node) {
		return nil, ErrTooOften
	}
	ticket, err := s.ticket(r.Context(), req.Role)
	if err != nil {
		return nil, err
	}
	if err := s.Tokens.Redeem(req.Token, Secret(req.Secret), req.Role, node); err != nil {
		return nil, err
	}
	failpoint.Hit(failpoint.GrantUsed)
	member := members.Member{ID: node, Role: req.Role, Name: req.Name, Addr: req.Addr, Remote: remoteAddr(r), Joined: time.Now().UTC().Truncate(time.Second)}
	g := s.grant(r, req.Role, req.Name, req.Addr)
	g.Trial = true
	a, err := s.grantTo(member, csr, g, ticket)
	if err == nil {
		a.Settle = s.settle()
	}
	return a, err
}

// grantTo signs a node's certificate, puts the node on the list and makes the
// answer.
func (s *Server) grantTo(member members.Member, csr *x509.CertificateRequest, g grant, ticket SwarmTicket) (*joinAnswer, error) {
	g.Epoch, _ = s.Members.Epochs()
	cert, err := s.CA.issue(csr, g)
	if err != nil {
		return nil, err
	}
	member.Until, member.Epoch = cert.NotAfter, g.Epoch
	err = s.Members.Put(member)
	switch {
	case errors.Is(err, members.ErrRemoved):
		return nil, ErrRemoved
	case errors.Is(err, members.ErrFull):
		return nil, ErrFull
	case err != nil:
		return nil, err
	}
	failpoint.Hit(failpoint.GrantSigned)
	return s.answer(cert, ticket), nil
}

func (s *Server) ticket(ctx context.Context, role string) (SwarmTicket, error) {
	token, managers, err := s.Swarm.SwarmJoinToken(ctx, role)
	if err != nil {
		return SwarmTicket{}, fmt.Errorf("%w: get Swarm's join token: %w", ErrUnavailable, err)
	}
	return SwarmTicket{Token: SwarmToken(token), Managers: managers}, nil
}

// grant decides for what a node's certificate is good: its address where the request
// came from it, and never that of the manager that signs. A manager gets its host name
// too, by the word of whoever holds a manager's token, but not that of the one that signs.
func (s *Server) grant(r *http.Request, role, name string, addr netip.Addr) grant {
	g := grant{Role: role}
	if role == fleet.RoleManager && name != "" && name != s.Identity.Self.Name {
		g.Names = []string{name}
	}
	if remoteAddr(r) == addr.Unmap() && !s.managerAddr(addr) {
		g.Addrs = []netip.Addr{addr.Unmap()}
	}
	return g
}
