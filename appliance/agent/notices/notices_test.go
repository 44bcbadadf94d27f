package notices

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/notice"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
)

// TestAnswer follows a notice that the cluster's CA has signed, whoever brings it, and refuses a stranger's,
// which is told so often only.
func TestAnswer(t *testing.T) {
	t.Parallel()
	ca, err := pki.LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	self := pki.Self{Name: "h1", Addr: netip.MustParseAddr("10.0.0.1")}
	id, err := pki.ManagerIdentity(t.TempDir(), ca, self, pki.Membership{})
	if err != nil {
		t.Fatal(err)
	}
	epoch, said := 0, ""
	handlers := Answer(Node{
		Identity: id,
		Epoch:    func() int { return epoch },
		Follow:   func(n notice.Notice) error { epoch = n.Epoch; return nil },
		Newest:   func() (notice.Notice, error) { return notice.Notice{Epoch: epoch}, nil },
		Audit:    func(event string, _ ...slog.Attr) { said += event + "\n" },
		Log:      slog.New(slog.DiscardHandler),
	})
	tell := func(from string, n notice.Notice) (int, string) {
		body, _ := json.Marshal(n)
		r := httptest.NewRequest(http.MethodPost, "/v1/notice", bytes.NewReader(body))
		r.RemoteAddr = from + ":1024"
		w := httptest.NewRecorder()
		handler(t, handlers, agent.RouteNotice).ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	n := notice.Notice{Epoch: 1, Managers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.9:7980")}}
	for range 3 * burst {
		code, text := tell("192.0.2.1", n)
		if code != http.StatusForbidden && code != http.StatusTooManyRequests || epoch != 0 {
			t.Fatalf("a stranger's: %d %s", code, text)
		}
	}
	if refused := strings.Count(said, "notice refused\n"); refused != burst {
		t.Errorf("it was looked at %d times, want %d", refused, burst)
	}
	if n, err = n.Sign(ca); err != nil {
		t.Fatal(err)
	}
	if code, text := tell("192.0.2.2", n); code != http.StatusNoContent || epoch != 1 {
		t.Errorf("a good one: %d %s", code, text)
	}
	if code, text := tell("192.0.2.2", n); code != http.StatusConflict {
		t.Errorf("again: %d %s", code, text)
	}
	w := httptest.NewRecorder()
	handler(t, handlers, agent.RouteNewest).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/notice", nil))
	if !strings.Contains(w.Body.String(), `"epoch":1`) {
		t.Errorf("the newest is %s", w.Body)
	}
}

func handler(t *testing.T, all []agent.Handler, route string) http.Handler {
	t.Helper()
	for _, h := range all {
		if h.Route() == route {
			return h
		}
	}
	t.Fatalf("nobody answers %s", route)
	return nil
}
