package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/addressbook"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// FuzzNodePort has a stranger send anything to the port between nodes, of a
// manager and of a worker: he gets no further than the exchange of a join, and
// hears nothing but refusals and the time.
func FuzzNodePort(f *testing.F) {
	manager := nodePortOfManager(f)
	worker := agent.Port(manager.identity, workerOf(f, manager).nodeHandlers())
	inside := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a stranger got in") })
	handlers := []http.Handler{agent.Port(manager.identity, manager.nodeHandlers(inside)), worker}
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		for _, path := range []string{"/v2/", "/v2/a/blobs/uploads/", "/v1/leave", "/v1/owner", "/v1/stage", "/v1/unstage", "/v1/kill", "/v1/container", "/v1/held", "/v1/reach", "/v1/upgrade", wire.Path, "/v1/join", "/v1/renew", "/v1/follow", "/v1/time", "//v2/", "/v1/../v2/"} {
			f.Add([]byte(method + " " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, h := range handlers {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
			if err != nil {
				return
			}
			r.RemoteAddr = "10.9.9.9:999"
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			if rec.Code == http.StatusOK && r.URL.Path != "/v1/time" || rec.Body.Len() > 4<<10 {
				t.Errorf("%s %s: %d, %d bytes", r.Method, r.URL.Path, rec.Code, rec.Body.Len())
			}
		}
	})
}

// workerOf is as much of a worker as its port between nodes needs.
func workerOf(f *testing.F, m *Manager) *Worker {
	f.Helper()
	return &Worker{ground: &ground{log: slog.New(slog.DiscardHandler)}, identity: m.identity, mirror: aMirror(f)}
}

func aMirror(t testing.TB) *mirror.Mirror {
	t.Helper()
	mir, err := mirror.Open(mirror.Options{Dir: t.TempDir(), Source: &mirror.HTTPSource{}, Exchange: &exchange.Options{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mir.Close() })
	return mir
}

// nodePortOfManager is as much of a manager as its port between nodes needs.
func nodePortOfManager(f *testing.F) *Manager {
	f.Helper()
	log := slog.New(slog.DiscardHandler)
	dir := f.TempDir()
	m := &Manager{ground: &ground{log: log}}
	m.cfg.DataDir = dir
	store := statetest.Open(f, dir)
	var errs [5]error
	m.ca, errs[0] = pki.LoadOrCreateCA(store)
	m.tokens, errs[1] = token.Open(store)
	m.members, errs[2] = member.Open(store, pki.NodeLife())
	m.keys, errs[3] = member.OpenKeys(store)
	m.identity, errs[4] = pki.ManagerIdentity(dir, m.ca, pki.Self{Name: "h1", Addr: netip.MustParseAddr("10.0.0.1")}, pki.Membership{})
	if err := errors.Join(errs[:]...); err != nil {
		f.Fatal(err)
	}
	var err error
	m.joins, err = enroll.NewServer(enroll.Options{
		CA: m.ca, Tokens: m.tokens, Members: m.members, Keys: m.keys, Identity: m.identity, Swarm: noSwarm{},
		Seeds:    func() []netip.AddrPort { return nil },
		Managers: func() []netip.AddrPort { return nil },
		Changed:  func(pki.Membership) {},
		Audit:    func(string, ...slog.Attr) {},
		Log:      log,
	})
	if err != nil {
		f.Fatal(err)
	}
	m.book = addressbook.New(m.engine, m.remotes, netip.Addr{}, log)
	m.buildPeers()
	return m
}

// noSwarm fails whoever gets as far as Swarm's token.
type noSwarm struct{}

func (noSwarm) SwarmJoinToken(context.Context, string) (string, []string, error) {
	panic("a stranger got Swarm's token")
}

func (noSwarm) SwarmNodes(context.Context) ([]member.Node, error) { return nil, nil }

func (noSwarm) RotateJoinTokens(context.Context) error { panic("a stranger changed Swarm's tokens") }

func (noSwarm) RemoveNode(context.Context, string) error { panic("a stranger removed a node") }
