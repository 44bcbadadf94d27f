package node

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/node/images"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// FuzzNodePort has a stranger send anything to the port between nodes, of a
// manager and of a worker: he gets no further than the exchange of a join, and
// hears nothing but refusals and the time.
func FuzzNodePort(f *testing.F) {
	manager := newManager(f, noSwarm{}, unheard)
	worker := agent.Port(manager.identity, workerOf(f, manager).handlers())
	inside := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a stranger got in") })
	served := manager.handlers()
	for i, h := range served {
		if h.Route() == agent.RouteImages || h.Route() == agent.RouteRegistry {
			served[i] = agent.Raw(h.Route(), inside)
		}
	}
	handlers := []http.Handler{agent.Port(manager.identity, served), worker}
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		for _, path := range []string{
			"/v2/", "/v2/a/blobs/uploads/", "/v1/leave", "/v1/owner", "/v1/stage", "/v1/unstage", "/v1/kill",
			"/v1/container", "/v1/held", "/v1/reach", "/v1/upgrade", wire.Path, "/v1/join", "/v1/renew", "/v1/follow",
			"/v1/time", "//v2/", "/v1/../v2/",
		} {
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

// workerOf is as much of a node that joined as its port between nodes needs.
func workerOf(f *testing.F, p *manager) *joined {
	f.Helper()
	n := &Node{log: p.log}
	n.identify(p.identity)
	return &joined{Node: n, mirror: aMirror(f)}
}

func aMirror(t testing.TB) *images.Mirror {
	t.Helper()
	mir, err := mirror.Open(mirror.Options{
		Dir:      t.TempDir(),
		Source:   &mirror.HTTPSource{},
		Exchange: &exchange.Options{},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mir.Close() })
	return &images.Mirror{Mirror: mir}
}

// noSwarm fails whoever gets as far as Swarm's token.
type noSwarm struct{}

func (noSwarm) SwarmJoinToken(context.Context, string) (string, []string, error) {
	panic("a stranger got Swarm's token")
}

func (noSwarm) SwarmNodes(context.Context) ([]member.Node, error) { return nil, nil }

func (noSwarm) RotateJoinTokens(context.Context) error { panic("a stranger changed Swarm's tokens") }

func (noSwarm) RemoveNode(context.Context, string) error { panic("a stranger removed a node") }
