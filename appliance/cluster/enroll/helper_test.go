package enroll

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func newTestCA(t testing.TB) *pki.CA {
	t.Helper()
	ca, err := pki.LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// options are those of a server at loopback whose documents are in a directory, and its identity
// in another.
func options(t testing.TB, dir, idDir string) Options {
	t.Helper()
	ca := newTestCA(t)
	id, err := pki.ManagerIdentity(idDir, ca, pki.Self{Name: "master", Addr: loopback}, pki.Membership{})
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		CA:       ca,
		Tokens:   openTokens(t, dir),
		Members:  openMembers(t, dir),
		Keys:     openKeys(t, dir),
		Identity: id,
		Swarm:    &fakeSwarm{},
		Seeds:    func() []netip.AddrPort { return nil },
		Managers: func() []netip.AddrPort { return nil },
		Changed:  func(pki.Membership) {},
		Audit:    func(string, ...slog.Attr) {},
		Log:      slog.New(slog.DiscardHandler),
	}
}

func openTokens(t testing.TB, dir string) *token.Store {
	t.Helper()
	tokens, err := token.Open(statetest.Open(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func issue(t testing.TB, tokens *token.Store, role string, ttl time.Duration, uses int) token.Issued {
	t.Helper()
	c, err := tokens.Issue(role, ttl, uses)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// hashOfSecret is that of testToken's secret.
const hashOfSecret = "JYHM8RKY5DgF7SkluyKr7lHOKL/l6hCfnwbZClB2vd0="

func testToken() token.JoinToken {
	return token.JoinToken{
		Role: fleet.RoleWorker,
		Managers: []netip.AddrPort{netip.MustParseAddrPort(
			"45.77.138.242:7980"), netip.MustParseAddrPort("[2001:db8::1]:7980")},
		CA:      pki.KeyHash(bytes.Repeat([]byte{0xab}, 32)),
		Token:   "abcdefgh",
		Secret:  token.Secret([]byte("secret-secret-16")),
		Expires: time.Unix(2_000_000_000, 0),
	}
}

func reveal(t testing.TB, s token.JoinToken) string {
	t.Helper()
	text, err := s.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
