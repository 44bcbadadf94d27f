package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/audit"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
)

// TestAudit_JoinFlood: garbage that a stranger sends to a manager's port fills neither
// the audit log nor the other one.
func TestAudit_JoinFlood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	trail, err := audit.Open(filepath.Join(dir, "audit.log"), log)
	if err != nil {
		t.Fatal(err)
	}
	store := statetest.Open(t, dir)
	ca, err := pki.LoadOrCreateCA(store)
	if err != nil {
		t.Fatal(err)
	}
	o := enroll.Options{
		CA:       ca,
		Swarm:    noSwarm{},
		Changed:  func(pki.Membership) {},
		Audit:    trail.Record,
		Log:      slog.New(slog.DiscardHandler),
		Seeds:    func() []netip.AddrPort { return nil },
		Managers: func() []netip.AddrPort { return nil },
	}
	var errs [4]error
	o.Tokens, errs[0] = token.Open(store)
	o.Members, errs[1] = member.Open(store, pki.NodeLife())
	o.Keys, errs[2] = member.OpenKeys(store)
	o.Identity, errs[3] = pki.ManagerIdentity(filepath.Join(dir, "node"), ca,
		pki.Self{Name: "h1", Addr: netip.MustParseAddr("10.0.0.1")}, pki.Membership{})
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	server, err := enroll.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	const times = 5000
	var handlers []agent.Handler
	for route, h := range server.Handlers() {
		handlers = append(handlers, agent.Raw(route, h))
	}
	port := agent.Port(o.Identity, handlers)
	bootstrap := server.RequireToken(func(http.ResponseWriter, *http.Request, string) { t.Error("let in") },
		agent.RefuseBootstrap)
	for n := range times {
		r := httptest.NewRequest(http.MethodPost, "/v1/join",
			strings.NewReader(`{"version":1,"token":"`+strings.Repeat("t", 9000)+`"}`))
		r.RemoteAddr = fmt.Sprintf("192.0.2.1:%d", 1024+n)
		port.ServeHTTP(httptest.NewRecorder(), r)
		r = httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = fmt.Sprintf("192.0.2.1:%d", 1024+n)
		r.Header.Set("Authorization", "Bearer CBX1-"+strings.Repeat("a", 1000))
		bootstrap.ServeHTTP(httptest.NewRecorder(), r)
	}
	if err := trail.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"audit log": string(text), "log": said.String()} {
		if lines := strings.Count(text, "\n"); lines == 0 || lines > 100 || len(text) > 50<<10 {
			t.Errorf("%d requests made %d lines of the %s, %d bytes", 2*times, lines, name, len(text))
		}
	}
	if !strings.Contains(string(text), `"repeated":`+fmt.Sprint(times-30)) {
		t.Errorf("the others are not counted: %s", text)
	}
}
