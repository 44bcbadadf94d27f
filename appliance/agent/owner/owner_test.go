package owner

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// TestAnswer: what belongs to nobody that can be found is not Docker's, and nobody can ask
// about many connections at once.
func TestAnswer(t *testing.T) {
	t.Parallel()
	p := NewProver(func(context.Context) (int, error) { return 0, errors.New("Docker is away") })
	h := Answer(p, slog.New(slog.DiscardHandler))
	remotes := func(n int) (list []netip.AddrPort) {
		for i := range n {
			list = append(list, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(i+1)))
		}
		return list
	}
	for n, want := range map[int]int{
		0:              http.StatusOK,
		1:              http.StatusOK,
		maxRemotes:     http.StatusOK,
		maxRemotes + 1: http.StatusBadRequest,
	} {
		body, err := json.Marshal(request{netip.MustParseAddrPort("127.0.0.1:1"), remotes(n)})
		if err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/v1/owner", strings.NewReader(string(body))))
		if rec.Code != want || want == http.StatusOK && strings.TrimSpace(rec.Body.String()) != `{"docker":false}` {
			t.Errorf("about %d connections: %d %s", n, rec.Code, rec.Body)
		}
	}
}
