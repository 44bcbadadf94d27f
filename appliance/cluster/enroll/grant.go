package enroll

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// admit lets a node in whose token is good. A use of the token is counted last,
// so that nothing but a broken disk can come after it.
func (s *Server) admit(r *http.Request, req joinRequest) (*joinAnswer, error) {
	if err := s.Tokens.Verify(req.Token, token.Secret(req.Secret), req.Role); err != nil {
		return nil, err
	}
	csr, err := pki.ParseCSR(req.CSR)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	node := pki.IDOf(csr.RawSubjectPublicKeyInfo)
	if s.Members.WasRemoved(node) {
		return nil, pki.ErrRemoved
	}
	if !s.signs.Allow(node) {
		return nil, ErrTooOften
	}
	swarmJoin, err := s.swarmJoin(r.Context(), req.Role)
	if err != nil {
		return nil, err
	}
	err = s.Tokens.Redeem(req.Token, token.Secret(req.Secret), req.Role, node)
	switch {
	case isRefusal(err):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	failpoint.Hit(failpoint.GrantUsed)
	joining := member.Member{
		ID:     node,
		Role:   req.Role,
		Name:   req.Name,
		Addr:   req.Addr,
		Remote: remoteAddr(r),
		Joined: time.Now().UTC().Truncate(time.Second),
	}
	g := s.grant(r, node, req.Role, req.Name, req.Addr)
	g.Trial = true
	a, err := s.grantTo(joining, csr, g, swarmJoin)
	if err == nil {
		a.StartDelay = s.startDelay()
	}
	return a, err
}

// grantTo signs a node's certificate, puts the node on the list and makes the
// answer.
func (s *Server) grantTo(node member.Member, csr *x509.CertificateRequest, g pki.Grant,
	swarmJoin pki.SwarmJoin) (*joinAnswer, error) {
	g.Epoch, _ = s.Members.Epochs()
	cert, err := s.CA.Issue(csr, g)
	if err != nil {
		return nil, err
	}
	node.Until, node.Epoch = cert.NotAfter, g.Epoch
	err = s.Members.Put(node)
	switch {
	case errors.Is(err, member.ErrRemoved):
		return nil, pki.ErrRemoved
	case errors.Is(err, member.ErrFull):
		return nil, ErrFull
	case err != nil:
		return nil, err
	}
	failpoint.Hit(failpoint.GrantSigned)
	return s.answer(cert, swarmJoin), nil
}

func (s *Server) swarmJoin(ctx context.Context, role string) (pki.SwarmJoin, error) {
	token, managers, err := s.Swarm.SwarmJoinToken(ctx, role)
	if err != nil {
		return pki.SwarmJoin{}, fmt.Errorf("%w: get Swarm's join token: %w", ErrUnavailable, err)
	}
	return pki.SwarmJoin{Token: pki.SwarmToken(token), Managers: managers}, nil
}

// grant decides for what a node's certificate is good: its address where the request
// came from it, and never that of the manager that signs, or of another one where it is none
// itself. A manager gets its host name too, by the word of the holder of a manager's token, but
// not that of the one that signs.
func (s *Server) grant(r *http.Request, id, role, name string, addr netip.Addr) pki.Grant {
	g := pki.Grant{Role: role}
	self := s.Identity
	if role == fleet.RoleManager && name != "" && name != self.Self.Name {
		g.Names = []string{name}
	}
	addr = addr.Unmap()
	foreign := addr == self.Self.Addr.Unmap() && id != self.Node.ID || role != fleet.RoleManager && s.managerAddr(addr)
	if remoteAddr(r) == addr && !foreign {
		g.Addrs = []netip.Addr{addr}
	}
	return g
}
