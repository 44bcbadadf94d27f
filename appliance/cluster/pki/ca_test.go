package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTestCA(t testing.TB) *CA {
	t.Helper()
	ca, err := LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestCA_IsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cas := make([]*CA, 8)
	var starts sync.WaitGroup
	for i := range cas {
		starts.Go(func() {
			var err error
			if cas[i], err = LoadOrCreateCA(statetest.Open(t, dir)); err != nil {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	for _, ca := range cas {
		if ca.Hash() != cas[0].Hash() || !bytes.Equal(ca.PEM(), cas[0].PEM()) {
			t.Error("processes that start together have different CAs")
		}
	}
	testenv.WantMode(t, filepath.Join(dir, "ca.pem"), 0o600)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 { // and the state
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

func TestCA_DamagedFileIsLeftAlone(t *testing.T) {
	t.Parallel()
	good, err := newCA()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newCA()
	if err != nil {
		t.Fatal(err)
	}
	_, cert := pem.Decode(other)
	key, _ := pem.Decode(good)
	for name, data := range map[string][]byte{
		"empty":        {},
		"cut":          good[:len(good)/2],
		"key alone":    pem.EncodeToMemory(key),
		"mixed up":     append(pem.EncodeToMemory(key), cert...),
		"other things": []byte("hello"),
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrCreateCA(statetest.Open(t, dir))
		if err == nil || !strings.Contains(err.Error(), "document ca of the cluster's state is damaged") {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, data) {
			t.Errorf("%s: file was changed", name)
		}
	}
}

func TestCA_CertificatesServePlainTLS(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	addr := netip.MustParseAddr("10.1.2.3")
	id, err := ManagerIdentity(t.TempDir(), ca, Self{Name: "master", Addr: addr}, Membership{})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(id.CAPEM()) {
		t.Fatal("CA is not PEM")
	}
	leaf := id.Certificate().Leaf
	for _, host := range []string{"master", "localhost", "127.0.0.1", "::1", "10.1.2.3"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if time.Until(leaf.NotAfter) < 89*24*time.Hour || time.Since(leaf.NotBefore) < 59*time.Minute {
		t.Errorf("valid from %s until %s", leaf.NotBefore, leaf.NotAfter)
	}
	if info, err := InfoFrom(leaf); err != nil || info != id.Node || info.Role != fleet.RoleManager {
		t.Errorf("certificate says %+v, %v", info, err)
	}
}

func TestManagerIdentity_StaysAndFollows(t *testing.T) {
	t.Parallel()
	dir, ca := t.TempDir(), newTestCA(t)
	self := Self{Name: "master", Addr: netip.MustParseAddr("10.1.2.3")}
	make := func(ca *CA, self Self) (*Identity, error) {
		return ManagerIdentity(dir, ca, self, Membership{GossipKeys: Keyring{Key("k")}})
	}
	managers := []string{"a", "b"}
	first, err := make(ca, self)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Adopt(Membership{ManagerIDs: managers, Removed: []string{"c"}}); err != nil {
		t.Fatal(err)
	}
	again, err := make(ca, self)
	if err == nil && (!slices.Equal(again.Membership().ManagerIDs, managers) || again.Membership().Removed != nil) {
		t.Errorf("after a start it knows %+v", again.Membership())
	}
	if err != nil || !again.Certificate().Leaf.Equal(first.Certificate().Leaf) {
		t.Errorf("certificate changed without need, %v", err)
	}
	self.Addr = netip.MustParseAddr("10.1.2.4")
	moved, err := make(ca, self)
	if err != nil || moved.Node != first.Node || moved.Certificate().Leaf.VerifyHostname("10.1.2.4") != nil {
		t.Errorf("does not follow its address: %v, %v", moved, err)
	}
	if _, err := make(newTestCA(t), self); !errors.Is(err, ErrOtherCluster) {
		t.Errorf("with another CA: %v", err)
	}
	testenv.WantMode(t, filepath.Join(dir, KeyFile), 0o600)
	testenv.WantMode(t, filepath.Join(dir, IdentityFile), 0o600)
}

// TestIdentity_Moved wants a certificate for another address to be seen, and one without any, as
// behind NAT, to be left alone.
func TestIdentity_Moved(t *testing.T) {
	t.Parallel()
	ca, dir := newTestCA(t), t.TempDir()
	id, err := ManagerIdentity(dir, ca, Self{Name: "h", Addr: netip.MustParseAddr("10.0.0.5")}, Membership{})
	if err != nil {
		t.Fatal(err)
	}
	der, err := id.CSR()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := ParseCSR(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		certified, is string
		want          bool
	}{
		"where it was":              {"10.0.0.5", "10.0.0.5", false},
		"where it was, by IPv6":     {"fd00:99::5", "fd00:99::5", false},
		"elsewhere":                 {"10.0.0.5", "10.0.0.6", true},
		"elsewhere, by IPv6":        {"10.0.0.5", "fd00:99::5", true},
		"behind NAT, and elsewhere": {"", "10.0.0.6", false},
	} {
		g := Grant{Role: fleet.RoleManager}
		if tc.certified != "" {
			g.Addrs = []netip.Addr{netip.MustParseAddr(tc.certified)}
		}
		cert, err := ca.Issue(csr, g)
		if err != nil {
			t.Fatal(err)
		}
		if err := id.Use(cert.Raw); err != nil {
			t.Fatal(err)
		}
		id.Self.Addr = netip.MustParseAddr(tc.is)
		if got := id.Moved(); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
