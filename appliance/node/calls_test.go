package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/addressbook"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/cluster/home/standby"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/node/images"
	"github.com/crawlbox/crawlbox/appliance/node/queue"
	"github.com/crawlbox/crawlbox/appliance/relay"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// swarmList is a Swarm that is nothing but its list of nodes.
type swarmList struct {
	mu    sync.Mutex
	nodes []member.Node
}

func (s *swarmList) SwarmJoinToken(context.Context, string) (string, []string, error) {
	return "SWMTKN", nil, nil
}

func (s *swarmList) SwarmNodes(context.Context) ([]member.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.nodes), nil
}

func (s *swarmList) RotateJoinTokens(context.Context) error { return nil }

func (s *swarmList) RemoveNode(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = slices.DeleteFunc(s.nodes, func(n member.Node) bool { return n.ID == id })
	return nil
}

func (s *swarmList) add(id, role string, ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = append(s.nodes, member.Node{
		ID:    id,
		Addr:  netip.MustParseAddr("127.0.0.1"),
		Role:  role,
		Raft:  role == fleet.RoleManager,
		Ready: ready,
	})
}

func (s *swarmList) ids() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		ids = append(ids, n.ID)
	}
	return ids
}

// port is a manager's port between nodes, where everybody comes from one address as
// nodes behind NAT do.
type port struct {
	*testing.T
	m     *manager
	swarm *swarmList
	addr  netip.AddrPort
}

// openPort serves the handlers that change has made of a manager's.
func openPort(t *testing.T, change func(*manager, []agent.Handler) []agent.Handler) *port {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &port{T: t, swarm: &swarmList{}, addr: netip.MustParseAddrPort(ln.Addr().String())}
	p.m = newManager(t, p.swarm, unheard, p.addr)
	handlers := change(p.m, append(p.m.handlers(), relay.Answer(p.m.view, unheard, log, nil)))
	srv := &http.Server{
		Handler:           agent.Port(p.m.identity, handlers),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(tls.NewListener(ln, p.m.identity.ServerTLS()))
	}()
	t.Cleanup(func() { srv.Close(); <-done })
	return p
}

// unheard is an audit log that nobody reads.
func unheard(string, ...slog.Attr) {}

// noNodes is a swarm for an address book.
type noNodes struct{}

func (noNodes) Nodes(context.Context) ([]fleet.Node, error) { return nil, nil }

// newManager is as much of a manager as its port between nodes needs.
func newManager(
	t testing.TB, swarm enroll.Swarm, audit func(string, ...slog.Attr), managers ...netip.AddrPort,
) *manager {
	t.Helper()
	log, dir := slog.New(slog.DiscardHandler), t.TempDir()
	self := pki.Self{Name: "h1", Addr: netip.MustParseAddr("10.0.0.1")}
	a, err := authority.Open(t.Context(), authority.Options{
		DataDir: dir,
		NodeDir: filepath.Join(dir, "node"),
		Self:    self,
		Log:     log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	a.Book = addressbook.New(noNodes{}, func() []netip.Addr { return nil }, netip.Addr{}, log)
	if err := a.Serve(swarm, func(pki.Membership) {}, audit); err != nil {
		t.Fatal(err)
	}
	p := &manager{Node: &Node{log: log}, authority: a, queue: queue.Off("")}
	p.cfg.DataDir, p.created = dir, true
	p.queue.Answers = append((&standby.Keeper{Config: p.cfg, Log: log}).Handlers(),
		home.Answer(p.cfg, self.Addr, p.engine.ClusterID, p.again, audit)...)
	p.identify(a.Identity)
	others := images.Others{View: p.view, Self: self.Addr, ToManagers: &http.Client{}, ToAll: &http.Client{}}
	t.Cleanup(p.images.Close)
	if err := p.images.Open(t.Context(), p.cfg, a, true, func() []string { return nil }, others, log); err != nil {
		t.Fatal(err)
	}
	p.ask()
	return p
}

func unchanged(_ *manager, handlers []agent.Handler) []agent.Handler { return handlers }

// join lets a node in that is in Swarm.
func (p *port) join(role, swarmID string) *pki.Identity {
	p.Helper()
	c, err := p.m.authority.Tokens.Standing(role)
	if err != nil {
		p.Fatal(err)
	}
	s := token.JoinToken{
		Role:     role,
		Managers: []netip.AddrPort{p.addr},
		CA:       p.m.authority.CA.Hash(),
		Token:    c.ID,
		Secret:   c.Secret,
	}
	self := pki.Self{Name: swarmID, Addr: netip.MustParseAddr("127.0.0.1"), Version: "1"}
	id, err := enroll.Join(p.Context(), p.TempDir(), s, self, slog.New(slog.DiscardHandler))
	if err != nil {
		p.Fatal(err)
	}
	p.swarm.add(swarmID, role, true)
	nodes, _ := p.swarm.SwarmNodes(p.Context())
	if err := p.m.authority.Members.Bind(id.Node.ID, swarmID, netip.MustParseAddr("127.0.0.1"), nodes); err != nil {
		p.Fatal(err)
	}
	return id
}

// ask sends a request as a node, or as a stranger where id is nil.
func (p *port) ask(id *pki.Identity, method, path string, body any) (int, string) {
	p.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		p.Fatal(err)
	}
	req, err := http.NewRequestWithContext(p.Context(), method, "https://"+p.addr.String()+path, bytes.NewReader(data))
	if err != nil {
		p.Fatal(err)
	}
	conf := &tls.Config{InsecureSkipVerify: true}
	if id != nil {
		conf.Certificates = []tls.Certificate{*id.Certificate()}
	}
	transport := &http.Transport{TLSClientConfig: conf}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// TestCalls has everybody make every call, and wants those let through whom the table
// of this test names.
func TestCalls(t *testing.T) {
	t.Parallel()
	allowed := map[enroll.Caller]string{ // of the callers below
		enroll.Anyone:    "stranger worker manager demoted removed outdated",
		enroll.Holder:    "", // without a join token
		enroll.Returning: "worker manager demoted outdated",
		enroll.Node:      "worker manager demoted",
		enroll.Manager:   "manager",
	}
	served := map[string]bool{}
	p := openPort(t, func(m *manager, handlers []agent.Handler) (stubs []agent.Handler) {
		w := &joined{Node: m.Node, mirror: aMirror(t)}
		for _, h := range slices.Concat(handlers, w.handlers()) {
			if served[h.Route()] {
				continue // of both
			}
			served[h.Route()] = true
			who := agent.Callers[h.Route()]
			if who != enroll.Holder && h.Route() != enroll.RouteJoin && h.Route() != enroll.RouteFollow &&
				h.Route() != enroll.RouteRenew {
				h = agent.Raw(h.Route(), http.HandlerFunc(
					func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
			}
			stubs = append(stubs, h)
		}
		return stubs
	})
	callers := map[string]*pki.Identity{"stranger": nil, "outdated": p.join(fleet.RoleWorker, "s0")}
	if err := errors.Join(p.m.authority.Members.NextEpoch(), p.m.authority.Members.AcceptEpoch()); err != nil {
		t.Fatal(err)
	}
	callers["worker"], callers["manager"] = p.join(fleet.RoleWorker, "s1"), p.join(fleet.RoleManager, "s2")
	callers["demoted"], callers["removed"] = p.join(fleet.RoleManager, "s3"), p.join(fleet.RoleManager, "s4")
	p.swarm.nodes[3].Role, p.swarm.nodes[3].Raft = fleet.RoleWorker, false
	if err := errors.Join(p.m.authority.Joins.Demoted(t.Context()),
		p.m.authority.Joins.Remove(t.Context(), nil, callers["removed"].Node.ID)); err != nil {
		t.Fatal(err)
	}
	// Who gets to call more than this has to change two places.
	strangers := []string{
		"GET /v1/time", "POST /v1/join", "GET /v1/ca", "GET /v1/bootstrap", "GET /v1/bootstrap/program",
		"GET /v1/backup",  // sealed
		"POST /v1/notice", // signed by the CA
	}
	nodes := []string{
		"POST /v1/renew", "POST /v1/follow", "POST /v1/leave", "POST /v1/reach", "GET /v1/program/{sum}", "/v2/",
		wire.Path, "GET /v1/notice",
	}
	for route, who := range agent.Callers {
		if who < enroll.Manager && !slices.Contains(slices.Concat(strangers, nodes), route) ||
			who < enroll.Returning && !slices.Contains(strangers, route) {
			t.Errorf("%s is for more than managers, or more than nodes", route)
		}
		if !served[route] {
			t.Errorf("%s is in the table, and nobody serves it", route)
		}
	}
	for route := range served {
		who, ok := agent.Callers[route]
		if !ok {
			t.Errorf("%s is served, and the table does not say to whom", route)
			continue
		}
		method, path, found := strings.Cut(route, " ")
		if !found {
			method, path = http.MethodGet, route
		}
		path = strings.Replace(path, "{sum}", "x", 1)
		for name, id := range callers {
			code, body := p.ask(id, method, path, map[string]any{"version": 1})
			let := code != http.StatusForbidden
			if want := slices.Contains(strings.Fields(allowed[who]), name); let != want {
				t.Errorf("%s: a %s node gets %d %.100q; want it let through: %v", route, name, code, body, want)
			}
		}
	}
}

// TestCalls_NoOtherMux wants no route of a port to be served but by way of the table.
func TestCalls_NoOtherMux(t *testing.T) {
	t.Parallel()
	found := 0
	for _, dir := range []string{".", "../cluster/enroll", "../agent", "../agent/owner", "../agent/reach"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok &&
					(sel.Sel.Name == "NewServeMux" || sel.Sel.Name == "ServeMux" || sel.Sel.Name == "HandleFunc" ||
						sel.Sel.Name == "Handle") {
					if found++; path != "../agent/port.go" {
						t.Errorf("%s has a mux of its own: routes belong into the table in agent/port.go", path)
					}
				}
				return true
			})
		}
	}
	if found != 2 {
		t.Errorf("agent/port.go makes a mux or a route at %d places, want 2", found)
	}
}

// TestLeave_BehindNAT has a node leave whose siblings, at the same address, are down.
func TestLeave_BehindNAT(t *testing.T) {
	t.Parallel()
	p := openPort(t, unchanged)
	leaves, stays := p.join(fleet.RoleWorker, "leaves"), p.join(fleet.RoleWorker, "stays")
	p.swarm.add("down", fleet.RoleWorker, false)
	for i := range p.swarm.nodes {
		p.swarm.nodes[i].Ready = false
	}
	// What it says does not count.
	if code, body := p.ask(leaves, http.MethodPost, "/v1/leave",
		map[string]string{"node": "stays"}); code != http.StatusNoContent {
		t.Fatalf("%d %s", code, body)
	}
	if got := p.swarm.ids(); !slices.Equal(got, []string{"stays", "down"}) {
		t.Errorf("on Swarm's list are %v", got)
	}
	if _, ok := p.m.authority.Members.Get(stays.Node.ID); !ok || !p.m.authority.Members.WasRemoved(leaves.Node.ID) {
		t.Error("the wrong node has left")
	}
}
