package join

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Swarm is what the exchange needs of Docker Swarm. It is called at the same
// time by many requests.
type Swarm interface {
	// SwarmJoinToken returns Swarm's join token for a role, and where its
	// managers listen, as HOST:PORT.
	SwarmJoinToken(ctx context.Context, role string) (token string, managers []string, err error)
}

// Server lets nodes into the cluster. All fields are required. The functions are
// called at each request.
type Server struct {
	CA        *CA
	Tokens    *Tokens
	Swarm     Swarm
	GossipKey []byte
	Seeds     func() []netip.AddrPort // of gossip
	Managers  func() []netip.AddrPort // where managers speak mutual TLS
	Log       *slog.Logger
}

// requestTimeout bounds each request, from its header to its answer.
const requestTimeout = 10 * time.Second

// Handler returns the manager's side of the exchange. It is to be served over
// TLS with the config of Identity.ServerTLS; the server must bound the time for
// headers, the handler bounds what follows.
func Handler(s Server) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+pathJoin, s.endpoint(s.join))
	mux.Handle("POST "+pathRenew, RequireNode(s.endpoint(s.renew)))
	mux.HandleFunc("GET "+pathTime, func(w http.ResponseWriter, _ *http.Request) { refuse(w, nil) })
	return mux
}

// endpoint reads a bounded body in bounded time, and writes the answer.
func (s Server) endpoint(answer func(*http.Request, []byte) (*joinAnswer, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		deadline, _ := ctx.Deadline()
		// Test recorders have no connection to set a deadline on; servers do.
		_ = http.NewResponseController(w).SetReadDeadline(deadline)
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			refuse(w, fmt.Errorf("%w: it is too long or was cut", ErrBadRequest))
			return
		}
		a, err := answer(r.WithContext(ctx), body)
		if err != nil {
			s.Log.Warn("refuse node", "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
			refuse(w, err)
			return
		}
		a.Time = time.Now()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a)
	})
}

func (s Server) join(r *http.Request, body []byte) (*joinAnswer, error) {
	req, err := decodeJoin(body)
	if err != nil {
		return nil, err
	}
	if err := s.Tokens.Check(req.Token, Secret(req.Secret), req.Role); err != nil {
		return nil, err
	}
	csr, err := checkRequest(req.CSR)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	ticket, err := s.ticket(r.Context(), req.Role)
	if err != nil {
		return nil, err
	}
	cert, err := s.CA.issue(csr, s.grant(r, req.Role, req.Name, req.Addr))
	if err != nil {
		return nil, err
	}
	s.Log.Info("node joins", "id", cert.Subject.CommonName, "name", req.Name, "role", req.Role,
		"addr", req.Addr, "remote", r.RemoteAddr, "token", req.Token, "version", req.Crawlbox)
	return s.answer(cert, ticket), nil
}

func (s Server) ticket(ctx context.Context, role string) (SwarmTicket, error) {
	token, managers, err := s.Swarm.SwarmJoinToken(ctx, role)
	if err != nil {
		return SwarmTicket{}, fmt.Errorf("%w: get Swarm's join token: %w", ErrUnavailable, err)
	}
	return SwarmTicket{Token: SwarmToken(token), Managers: managers}, nil
}

func (s Server) renew(r *http.Request, body []byte) (*joinAnswer, error) {
	req, err := decodeRequest[renewRequest](body)
	if err != nil {
		return nil, err
	}
	if err := checkAddr(req.Addr); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	csr, err := checkRequest(req.CSR)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	peer, ok := PeerFrom(r.Context())
	if !ok || idOf(csr.RawSubjectPublicKeyInfo) != peer.ID {
		return nil, ErrNotAllowed
	}
	var ticket SwarmTicket
	if req.Ticket {
		if ticket, err = s.ticket(r.Context(), peer.Role); err != nil {
			return nil, err
		}
	}
	g := s.grant(r, peer.Role, "", req.Addr)
	g.Names = slices.DeleteFunc(slices.Clone(r.TLS.VerifiedChains[0][0].DNSNames), func(n string) bool { return n == "localhost" })
	cert, err := s.CA.issue(csr, g)
	if err != nil {
		return nil, err
	}
	s.Log.Info("renewed certificate", "id", peer.ID, "role", peer.Role, "until", cert.NotAfter)
	return s.answer(cert, ticket), nil
}

// grant decides for what a node's certificate is good. A manager has the word of
// whoever holds a manager's token. A worker gets its address only where the
// request came from it, and never that of a manager.
func (s Server) grant(r *http.Request, role, name string, addr netip.Addr) grant {
	g := grant{Role: role}
	if role == fleet.RoleManager {
		g.Addrs = []netip.Addr{addr.Unmap()}
		if name != "" {
			g.Names = []string{name}
		}
		return g
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	isManager := slices.ContainsFunc(s.Managers(), func(m netip.AddrPort) bool { return m.Addr().Unmap() == addr.Unmap() })
	if err == nil && remote.Addr().Unmap() == addr.Unmap() && !isManager {
		g.Addrs = []netip.Addr{addr.Unmap()}
	}
	return g
}

func (s Server) answer(cert *x509.Certificate, ticket SwarmTicket) *joinAnswer {
	return &joinAnswer{
		Membership: Membership{
			Cluster:   s.CA.Hash().ClusterID(),
			Managers:  s.Managers(),
			Swarm:     ticket,
			GossipKey: s.GossipKey,
			Seeds:     s.Seeds(),
		},
		Certificate: cert.Raw,
		CA:          s.CA.cert.Raw,
	}
}

// refuse writes why not. A nil error only tells the time. An error that is not
// one of the refusals stays in the manager's log.
func refuse(w http.ResponseWriter, err error) {
	body, status := refusal{Time: time.Now()}, http.StatusOK
	if err != nil {
		body.Code, status = "unavailable", http.StatusServiceUnavailable
	}
	for _, known := range refusals {
		if errors.Is(err, known.err) {
			body.Code, status = known.code, known.status
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
