package agent

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// TestLeave_AnyManager: one manager that hears it is enough, and a node that was removed
// has nothing left to take leave of.
func TestLeave_AnyManager(t *testing.T) {
	t.Parallel()
	status := http.StatusNoContent
	body := ""
	c := newCluster(t, func(*cluster) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		})
	})
	there := Target{Client: c.peers.client, Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), c.peers.port)}
	nobody := Target{Client: c.peers.client, Addr: netip.MustParseAddrPort("127.0.0.1:1")}
	for _, answer := range []struct {
		status   int
		body     string
		managers []Target
		want     string // empty: no error
	}{
		{http.StatusNoContent, "", []Target{nobody, there}, ""},
		{http.StatusForbidden, `{"code":"removed"}`, []Target{there}, ""},
		{http.StatusForbidden, "this node is not of the cluster", []Target{there}, "this node is not of the cluster"},
		{http.StatusServiceUnavailable, "", []Target{there}, "it answers 503 Service Unavailable"},
		{http.StatusOK, "", nil, "no manager is known"},
	} {
		status, body = answer.status, answer.body
		err := Leave(t.Context(), answer.managers, "s1")
		if (err == nil) != (answer.want == "") || err != nil && !strings.HasSuffix(err.Error(), answer.want) {
			t.Errorf("%d %s: got %v, want %q", answer.status, answer.body, err, answer.want)
		}
	}
}
