package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/deploy"
)

// TestRelayed has a node pass calls on to another one: the answers are the same, streams and their errors
// too, and both write down who called.
func TestRelayed(t *testing.T) {
	t.Parallel()
	far, near := apitest.New(now), apitest.New(now)
	var farAudit, nearAudit records
	who := func(*http.Request) string { return "node-2" }
	served := http.StripPrefix("/v1/api", api.Passed(api.Handler(farAudit.add, testLog(t), api.ChangesArea(far),
		api.DeploysArea(far)), who))
	var refuse atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		served.ServeHTTP(w, r)
	}))
	t.Cleanup(other.Close)
	to, err := url.Parse(other.URL + "/v1/api")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	relay := api.Relay(transport, to, "h1 (10.0.0.1)")
	passed := true
	pass := func() http.Handler {
		if !passed {
			return nil
		}
		return relay
	}
	client, _ := serveHandler(t, api.Handler(nearAudit.add, testLog(t),
		api.OverviewArea(near),
		api.ChangesArea(near).Relayed(pass),
		api.DeploysArea(near).Relayed(pass),
	))
	req := api.DeployRequest{Service: "prices", Image: "localhost:8003/prices:1"}
	steps := func() (n int, err error) {
		err = client.Deploy(testContext(t), req, func(deploy.Progress) error { n++; return nil })
		return n, err
	}
	if n, err := steps(); err != nil || n == 0 {
		t.Fatalf("%d steps, %v", n, err)
	}
	said := strings.Join(farAudit.take(), "\n")
	if !strings.Contains(said, "node=node-2") || !strings.Contains(said, "user=") ||
		!strings.Contains(strings.Join(nearAudit.take(), "\n"), "passed-on=true") {
		t.Errorf("the other one's audit log has %q", said)
	}
	far.BeWorker()
	if _, err := steps(); err == nil || !strings.Contains(err.Error(), "manager") {
		t.Errorf("its error comes as %v", err)
	}
	passed = false
	if n, err := steps(); err != nil || n == 0 {
		t.Errorf("without the other one: %d steps, %v", n, err)
	}
	passed = true
	refuse.Store(true)
	if _, err := steps(); err == nil || !strings.Contains(err.Error(), "the manager h1 (10.0.0.1) does not take this "+
		"node for a manager") {
		t.Errorf("of a node that was demoted: %v", err)
	}
	other.Close()
	if _, err := steps(); err == nil || !strings.Contains(err.Error(), "the manager h1 (10.0.0.1) has to answer this") {
		t.Errorf("once it is away: %v", err)
	}
}
