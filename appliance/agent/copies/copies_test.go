package copies

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
)

// TestFetch has a node keep what its managers bring, and give out the newest to a bare machine, a few times.
func TestFetch(t *testing.T) {
	t.Parallel()
	ca, err := pki.LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	self := pki.Self{Name: "h1", Addr: netip.MustParseAddr("127.0.0.1")}
	id, err := pki.ManagerIdentity(t.TempDir(), ca, self, pki.Membership{})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, h := range Answer(t.TempDir(), id, slog.New(slog.DiscardHandler)) {
		mux.Handle(h.Route(), h)
	}
	srv := httptest.NewTLSServer(mux)
	t.Cleanup(srv.Close)
	at := netip.MustParseAddrPort(srv.Listener.Addr().String())
	if _, err := Fetch(t.Context(), at); err == nil || !strings.Contains(err.Error(), "keeps no backup") {
		t.Errorf("of a node without one: %v", err)
	}
	content := backup.Content{Cluster: ca.Hash().Hex(), Epoch: 1, Time: time.Now()}
	seal, err := backup.NewKey().Seal()
	if err != nil {
		t.Fatal(err)
	}
	keep := func(c backup.Content, want int) []byte {
		t.Helper()
		sealed, err := c.Sealed(seal)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := json.Marshal(keepRequest{sealed})
		_, path, _ := strings.Cut(agent.RouteBackup, " ")
		resp, err := srv.Client().Post(srv.URL+path, "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("epoch %d of cluster %.4s: %s, want %d", c.Epoch, c.Cluster, resp.Status, want)
		}
		return sealed
	}
	want := keep(content, http.StatusNoContent)
	before, foreign := content, content
	before.Epoch, foreign.Cluster = 0, strings.Repeat("0", 64)
	keep(before, http.StatusConflict)
	keep(foreign, http.StatusConflict)
	for range giveBurst - 1 { // one was asked for before
		if got, err := Fetch(t.Context(), at); err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
		}
	}
	if _, err := Fetch(t.Context(), at); err == nil || !strings.Contains(err.Error(), "too often") {
		t.Errorf("once more: %v", err)
	}
}
