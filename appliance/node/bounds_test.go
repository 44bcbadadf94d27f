package node

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/audit"
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
	m := newManager(t, noSwarm{}, trail.Record)
	const times = 5000
	port := agent.Port(m.identity, m.handlers())
	bootstrap := m.authority.Joins.RequireToken(func(http.ResponseWriter, *http.Request, string) { t.Error("let in") },
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
