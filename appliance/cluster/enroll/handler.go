package enroll

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Swarm holds what the exchange needs of Docker Swarm. It is called at the same
// time by many requests.
type Swarm interface {
	// SwarmJoinToken returns Swarm's join token for a role, and where its
	// managers listen, as HOST:PORT.
	SwarmJoinToken(ctx context.Context, role string) (token string, managers []string, err error)
	// SwarmNodes returns all nodes, as they were a few seconds ago at the most.
	SwarmNodes(ctx context.Context) ([]member.Node, error)
	// RotateJoinTokens gives Swarm other join tokens, for both roles.
	RotateJoinTokens(ctx context.Context) error
	// RemoveNode takes a node, by Swarm's ID, off its list, also one that is up. One
	// that is not on it is no error.
	RemoveNode(ctx context.Context, id string) error
}

// Options holds what a Server works with. All but Nodes are required. The functions are called
// at the same time by many requests.
type Options struct {
	CA       *pki.CA
	Tokens   *token.Store
	Members  *member.List
	Keys     *member.Keys
	Identity *pki.Identity // of this manager
	Joined   bool          // it joined the cluster, and others sign its certificates
	Restored int           // how often the cluster was restored
	Swarm    Swarm
	Seeds    func() []netip.AddrPort // of gossip
	Managers func() []netip.AddrPort // where managers speak mutual TLS
	Nodes    func() []netip.Addr     // where nodes are; may be nil, then nobody is told
	// Full returns where the managers are that have all images; nil: all managers.
	Full func() []netip.AddrPort
	// Queue returns how nodes reach the cluster's queue, empty where that is not known; may be nil.
	Queue func() []byte
	// Changed is called with what is new of the cluster, before other nodes hear
	// of it.
	Changed func(pki.Membership)
	// Audit gets a line for every try to join and everything that was granted.
	Audit func(event string, attrs ...slog.Attr)
	Log   *slog.Logger
}

// Server lets nodes into the cluster, tells them what is new of it, and removes
// them. Its methods may be called at the same time.
type Server struct {
	Options
	tries    *authLimiter
	joinRate *rate.Limiter
	signs    *bound.Rate[string] // certificates, by node
	asks     *bound.Rate[string] // questions for news, by node
	spread   time.Duration       // see spreading
	// gathered is when all nodes that are up have got in touch after the start.
	gathered time.Time

	rotate chan struct{} // holds one token when the keys of gossip are to change
	heard  chan struct{} // holds one token when a node has said what it knows

	removing chan struct{} // holds one token while somebody does what is left of removals

	mu         sync.Mutex
	news       chan struct{}            // closed when there is something new
	version    string                   // of what is new
	acks       map[string]ack           // what nodes know, by ID
	claims     map[string]rejectedClaim // that were made last, by ID
	managersAt time.Time                // when managerIDs was seen

	managerIDs atomic.Value // []string: nodes that are managers now
}

// NewServer returns a server, and tells Changed how things are.
func NewServer(o Options) (*Server, error) {
	s := &Server{
		Options:  o,
		tries:    newAuthLimiter(),
		joinRate: newJoinRate(),
		signs:    bound.NewRate[string](signEvery(), signBurst, member.Max),
		asks:     bound.NewRate[string](askEvery, askBurst, member.Max),

		spread:   spreading,
		gathered: time.Now().Add(gathering),
		rotate:   make(chan struct{}, 1),
		heard:    make(chan struct{}, 1),
		news:     make(chan struct{}),
		acks:     map[string]ack{},
		claims:   map[string]rejectedClaim{},
		removing: make(chan struct{}, 1),
	}
	known := append(o.Identity.Membership().ManagerIDs, o.Identity.Node.ID) // by the last start
	slices.Sort(known)
	s.managerIDs.Store(slices.Compact(known))
	if err := s.keepEpoch(); err != nil {
		return nil, err
	}
	return s, s.publish()
}

// requestTimeout bounds each request, from its header to its answer.
const requestTimeout = 10 * time.Second

// Routes of the exchange, with their methods.
const (
	RouteJoin   = "POST " + pathJoin   // for Anyone
	RouteRenew  = "POST " + pathRenew  // for Returning
	RouteFollow = "POST " + pathFollow // for Returning
	RouteTime   = "GET " + pathTime    // for Anyone
)

// Handlers returns the manager's side of the exchange, by its routes. It is to be served
// over TLS with the config of Identity.ServerTLS, to the callers that Require
// admits; the server must bound the time for headers, the handlers bound what follows.
func (s *Server) Handlers() map[string]http.Handler {
	return map[string]http.Handler{
		RouteJoin:   s.endpoint(requestTimeout, s.join),
		RouteRenew:  s.endpoint(requestTimeout, s.renew),
		RouteFollow: s.endpoint(requestTimeout+followHold, s.follow),
		RouteTime:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, nil) }),
	}
}

// endpoint reads a bounded body in bounded time, and writes the answer.
func (s *Server) endpoint(within time.Duration, answer func(*http.Request, []byte) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		// Test recorders have no connection to set a deadline on; servers do.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestTimeout))
		body, err := bound.ReadAll(r.Body, maxRequest)
		if err != nil {
			refuse(w, fmt.Errorf("%w: it is too long or was cut", ErrBadRequest))
			return
		}
		a, err := answer(r.WithContext(ctx), body)
		if err != nil {
			if !isRefusal(err) && r.Context().Err() == nil { // a client that hung up is no fault of ours
				s.Log.Warn("failed to answer a node", "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
			}
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a)
	})
}

// join answers one try, and has a line of audit for it whatever comes of it.
func (s *Server) join(r *http.Request, body []byte) (any, error) {
	remote := remoteAddr(r)
	var req joinRequest
	var answer *joinAnswer
	err := ErrTooMany
	if s.tries.allow(remote) {
		if req, err = decodeJoin(body); err == nil {
			answer, err = s.admit(r, req)
		}
		if isRefusal(err) {
			s.tries.failed(remote)
		}
	}
	line := []slog.Attr{slog.String("remote", r.RemoteAddr), slog.String("token", req.Token),
		slog.String("role", req.Role),
		slog.String("name", req.Name), slog.String("addr", req.Addr.String()), slog.String("version", req.Crawlbox)}
	if err != nil {
		s.Audit("join refused", append(line, slog.String("reason", reason(err)))...)
		return nil, err
	}
	s.Audit("join", append(line, slog.String("node", answer.node))...)
	return answer, nil
}

func (s *Server) renew(r *http.Request, body []byte) (any, error) {
	req, err := decodeRequest[renewRequest](body)
	if err != nil {
		return nil, err
	}
	if err := pki.CheckAddr(req.Addr); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	csr, err := pki.ParseCSR(req.CSR)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	peer, ok := PeerFrom(r.Context())
	if !ok || pki.IDOf(csr.RawSubjectPublicKeyInfo) != peer.ID {
		return nil, pki.ErrNotAllowed
	}
	if err := s.known(r, peer.ID); err != nil {
		return nil, err
	}
	if !s.signs.Allow(peer.ID) {
		return nil, ErrTooOften
	}
	now, err := s.rights(r.Context(), peer.ID)
	if err != nil {
		return nil, err
	}
	var swarmJoin pki.SwarmJoin
	switch {
	case req.SwarmToken && !now.swarmToken:
		return nil, ErrUnbound
	case req.SwarmToken:
		if swarmJoin, err = s.swarmJoin(r.Context(), now.role); err != nil {
			return nil, err
		}
	}
	g := s.grant(r, peer.ID, now.role, "", req.Addr)
	g.Trial = now.trial
	if now.role == fleet.RoleManager {
		g.Names = slices.DeleteFunc(slices.Clone(r.TLS.VerifiedChains[0][0].DNSNames),
			func(n string) bool {
				return n == "localhost" || n == s.Identity.Self.Name && peer.ID != s.Identity.Node.ID
			})
	}
	a, err := s.grantTo(member.Member{ID: peer.ID, Role: s.roleAtJoin(peer), Addr: req.Addr, Remote: remoteAddr(r)},
		csr, g, swarmJoin)
	if err != nil {
		return nil, err
	}
	s.Audit("renewal", slog.String("node", peer.ID), slog.String("role", now.role), slog.String("remote", r.RemoteAddr))
	return a, nil
}

// roleAtJoin returns the highest role that a node may have.
func (s *Server) roleAtJoin(peer pki.NodeInfo) string {
	if m, ok := s.Members.Get(peer.ID); ok {
		return m.Role
	}
	return peer.Role
}

func (s *Server) answer(cert *x509.Certificate, swarmJoin pki.SwarmJoin) *joinAnswer {
	member := s.membership()
	member.Swarm, member.Seeds = swarmJoin, s.Seeds()
	return &joinAnswer{
		Membership:  member,
		Certificate: cert.Raw,
		CA:          s.CA.Certificate().Raw,
		Time:        time.Now(),
		node:        cert.Subject.CommonName,
	}
}

func remoteAddr(r *http.Request) netip.Addr {
	return remoteAddrPort(r).Addr().Unmap()
}

func remoteAddrPort(r *http.Request) netip.AddrPort {
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	return remote
}

// isRefusal reports whether an error is the other end's fault, and told to it.
func isRefusal(err error) bool {
	refuses := func(r wireRefusal) bool { return errors.Is(err, r.err) }
	return !errors.Is(err, ErrUnavailable) && slices.ContainsFunc(refusals, refuses)
}

// reason returns the refusal's code, or what went wrong here.
func reason(err error) string {
	for _, known := range refusals {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return err.Error()
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
