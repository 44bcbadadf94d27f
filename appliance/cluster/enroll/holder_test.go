package enroll

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// TestRequireToken wants each join token that would not let a node in to be refused,
// and none to be used up.
func TestRequireToken(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	issue := func(uses int, ttl time.Duration) token.Issued {
		c, err := m.Tokens.Issue(fleet.RoleWorker, ttl, uses)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	once, revoked, used := issue(1, 0), issue(1, 0), issue(1, 0)
	if err := m.Tokens.Revoke(revoked.ID); err != nil {
		t.Fatal(err)
	}
	if err := m.Tokens.Redeem(used.ID, used.Secret, used.Role, "node"); err != nil {
		t.Fatal(err)
	}
	guessed, elsewhere, otherRole := m.with(once), m.with(once), m.with(once)
	guessed.Secret[0]++
	elsewhere.CA[0]++
	otherRole.Role = fleet.RoleManager
	standing := m.string(t, fleet.RoleManager)

	handler := m.RequireToken(
		func(w http.ResponseWriter, _ *http.Request, role string) { _, _ = io.WriteString(w, "for a "+role) },
		func(w http.ResponseWriter, err error) { http.Error(w, err.Error(), http.StatusForbidden) })
	ask := func(remote, header string) string {
		r := httptest.NewRequest(http.MethodGet, "/v1/bootstrap", nil)
		r.RemoteAddr = remote + ":1234"
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Body.String()
	}
	for name, c := range map[string]struct{ header, says string }{
		"good":                     {"Bearer " + reveal(t, m.with(once)), "for a worker"},
		"good, for a manager":      {"Bearer " + reveal(t, standing), "for a manager"},
		"nothing":                  {"", ErrBadRequest.Error()},
		"no join token":            {"Bearer CBX1-NONSENSE", ErrBadRequest.Error()},
		"a guessed secret":         {"Bearer " + reveal(t, guessed), token.ErrBadSecret.Error()},
		"of another cluster":       {"Bearer " + reveal(t, elsewhere), token.ErrUnknownToken.Error()},
		"with a role of one's own": {"Bearer " + reveal(t, otherRole), token.ErrWrongRole.Error()},
		"revoked":                  {"Bearer " + reveal(t, m.with(revoked)), token.ErrRevoked.Error()},
		"used up":                  {"Bearer " + reveal(t, m.with(used)), token.ErrUsedUp.Error()},
	} {
		if got := strings.TrimSpace(ask("192.0.2.1", c.header)); got != c.says {
			t.Errorf("%s: got %q, want %q", name, got, c.says)
		}
	}
	if err := m.Tokens.Redeem(once.ID, once.Secret, once.Role, "node"); err != nil {
		t.Errorf("the join token was used up: %v", err)
	}

	answers := make([]string, 2*limitBurst)
	for i := range answers {
		answers[i] = strings.TrimSpace(ask("192.0.2.2", "Bearer guess"))
	}
	if !slices.Contains(answers, ErrTooMany.Error()) {
		t.Errorf("%d guesses are answered %q", len(answers), answers)
	}
}
