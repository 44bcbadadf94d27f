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
	who := func(*http.Request) (string, string) { return "h2", "node-2" }
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
	pass := func() (api.Pass, bool) {
		if !passed {
			return nil, true
		}
		return relay, true
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

// TestPassed_Who names who called on another node by the name of that, or its ID where that is not known.
func TestPassed_Who(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"h3": "@h3", "": "@node-3"} {
		got := ""
		served := api.Passed(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = api.PeerUser(r.Context())
		}), func(*http.Request) (string, string) { return name, "node-3" })
		served.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/deploy", http.NoBody))
		if got != want {
			t.Errorf("%q: it is %q, want %q", name, got, want)
		}
	}
}

// TestRelayed_Moves has the node move that answers: a call is made again until it is answered, once, wherever that is.
func TestRelayed_Moves(t *testing.T) {
	t.Parallel()
	far, near := apitest.New(now), apitest.New(now)
	var leads, asked atomic.Int32
	who := func(*http.Request) (string, string) { return "h2", "node-2" }
	served := http.StripPrefix("/v1/api", api.Passed(api.Handler(nil, testLog(t),
		api.DeploysArea(far).While(func() bool { return leads.Add(1) > 2 })), who))
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		served.ServeHTTP(w, r)
	}))
	t.Cleanup(other.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	tries := 0
	to := func() (api.Pass, bool) {
		at := other.URL
		switch tries++; tries {
		case 1:
			return nil, false // nobody is known
		case 2:
			at = gone.URL
		}
		where, err := url.Parse(at + "/v1/api")
		if err != nil {
			t.Error(err)
		}
		return api.Relay(&http.Transport{DisableKeepAlives: true}, where, "h1"), true
	}
	client, _ := serveHandler(t, api.Handler(nil, testLog(t), api.DeploysArea(near).Relayed(to)))
	n := 0
	err := client.Deploy(testContext(t), api.DeployRequest{Service: "prices", Image: "localhost:8003/prices:1"},
		func(deploy.Progress) error { n++; return nil })
	if err != nil || n == 0 || tries != 5 || asked.Load() != 3 {
		t.Errorf("%d steps, %v; %d tries, %d calls", n, err, tries, asked.Load())
	}
	tries = 0
	if list, err := client.Definitions(testContext(t)); err != nil || len(list) == 0 || tries != 1 {
		t.Errorf("a read waits for somebody to be known: %v, %d tries", err, tries)
	}
}

// TestRelayed_Once: a call that may have been made is not made again.
func TestRelayed_Once(t *testing.T) {
	t.Parallel()
	near := apitest.New(now)
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(other.Close)
	where, err := url.Parse(other.URL + "/v1/api")
	if err != nil {
		t.Fatal(err)
	}
	relay := api.Relay(&http.Transport{DisableKeepAlives: true}, where, "h1 (10.0.0.1)")
	client, _ := serveHandler(t, api.Handler(nil, testLog(t),
		api.DeploysArea(near).Relayed(func() (api.Pass, bool) { return relay, true })))
	err = client.Deploy(testContext(t), api.DeployRequest{Service: "prices", Image: "localhost:8003/prices:1"},
		func(deploy.Progress) error { return nil })
	const want = "the manager h1 (10.0.0.1) has to answer this"
	if err == nil || !strings.Contains(err.Error(), want) || asked.Load() != 1 {
		t.Errorf("%v after %d calls", err, asked.Load())
	}
}
