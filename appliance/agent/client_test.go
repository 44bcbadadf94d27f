package agent

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestIsNode(t *testing.T) {
	t.Parallel()
	m := pki.Membership{
		Managers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:7000")},
		Nodes:    []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::2")},
	}
	for to, want := range map[string]bool{
		"10.0.0.1:7000":          true,
		"10.0.0.1:7980":          true,
		"10.0.0.2:7980":          true,
		"[::ffff:10.0.0.2]:7980": true,
		"[2001:db8::2]:7980":     true,
		"10.0.0.2:7000":          false,
		"10.0.0.2:22":            false,
		"10.0.0.3:7980":          false,
		"127.0.0.1:7980":         false,
		"169.254.169.254:80":     false,
	} {
		if got := isNode(m, netip.MustParseAddrPort(to), 7980); got != want {
			t.Errorf("%s: %v, want %v", to, got, want)
		}
	}
	m.Nodes = nil // a manager of an earlier version
	if !isNode(m, netip.MustParseAddrPort("10.0.0.3:7980"), 7980) ||
		isNode(m, netip.MustParseAddrPort("10.0.0.3:22"), 7980) {
		t.Error("where no address is told, only the port counts")
	}
}

// TestAtMembers_AtOnce: a manager knows where a node is from when it got its certificate, not
// from the next time that the nodes are told.
func TestAtMembers_AtOnce(t *testing.T) {
	t.Parallel()
	id, err := identity(t)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Adopt(pki.Membership{Nodes: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}); err != nil {
		t.Fatal(err)
	}
	list, err := member.Open(statetest.Open(t, t.TempDir()), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	at := AtMembers(id, list, 7981)
	knows := func(text string, want bool) {
		t.Helper()
		if got := at(netip.MustParseAddrPort(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	knows("10.0.0.1:7981", true)
	knows("10.0.0.2:7981", false)
	n := member.Member{
		ID:     "b",
		Role:   fleet.RoleWorker,
		Remote: netip.MustParseAddr("10.0.0.2"),
		Until:  time.Now().Add(time.Hour),
	}
	if err := list.Put(n); err != nil {
		t.Fatal(err)
	}
	knows("10.0.0.2:7981", true)
	knows("[::ffff:10.0.0.2]:7981", true)
	knows("10.0.0.2:22", false)
	if err := list.Remove(n.ID); err != nil {
		t.Fatal(err)
	}
	knows("10.0.0.2:7981", false)
}

// TestNewClient_GoesNowhereElse: whatever sends it there, a node's client connects to
// no address but where nodes are, not even to look who is there.
func TestNewClient_GoesNowhereElse(t *testing.T) {
	t.Parallel()
	var called atomic.Int32
	bystander, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := bystander.Accept()
			if err != nil {
				return
			}
			called.Add(1)
			conn.Close()
		}
	}()
	id, err := identity(t)
	if err != nil {
		t.Fatal(err)
	}
	evil := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
	}))
	evil.Listener = tls.NewListener(evil.Listener, id.ServerTLS())
	evil.Start()
	defer evil.Close()
	url := "https://" + evil.Listener.Addr().String()
	node := netip.MustParseAddrPort(evil.Listener.Addr().String())
	client := NewClient(func(to netip.AddrPort) bool { return to == node }, id)
	defer client.CloseIdleConnections()
	elsewhere := bystander.Addr().String()
	_, port, _ := net.SplitHostPort(elsewhere)
	for _, url := range []string{
		"https://" + elsewhere + "/v1/reach", "http://" + elsewhere, "https://localhost:" + port,
	} {
		if resp, err := client.Get(url); err == nil {
			resp.Body.Close()
			t.Errorf("%s answers", url)
		} else if !errors.Is(err, ErrNoNode) {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, to := range []string{"http://" + elsewhere, "https://" + elsewhere, url + "/again"} {
		resp, err := client.Get(url + "/?to=" + to)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusTemporaryRedirect {
			t.Errorf("%s is followed", to)
		}
	}
	bystander.Close()
	<-done
	if called.Load() != 0 {
		t.Errorf("the bystander was called %d times", called.Load())
	}
}

func identity(t *testing.T) (*pki.Identity, error) {
	t.Helper()
	ca, err := pki.LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		return nil, err
	}
	return pki.ManagerIdentity(t.TempDir(), ca, pki.Self{Name: "h1", Addr: netip.MustParseAddr("10.0.0.1")},
		pki.Membership{})
}

// TestAsker_ByItsCertificate: a node is named to others by what its certificate says or
// where it comes from, whatever gossip has of it.
func TestAsker_ByItsCertificate(t *testing.T) {
	t.Parallel()
	id, err := identity(t)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "[::ffff:192.0.2.7]:4000"
	if got := AskerAddr(r).String(); got != "192.0.2.7" {
		t.Errorf("without an address in its certificate: %s", got)
	}
	r.TLS = &tls.ConnectionState{}
	r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, id.Certificate().Leaf)
	if got := AskerAddr(r).String(); got != "10.0.0.1" {
		t.Errorf("with one: %s", got)
	}
}

// TestUnreached: no words of Go's reach a user.
func TestUnreached(t *testing.T) {
	t.Parallel()
	const port = "10.0.0.3:7980"
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for want, err := range map[string]error{
		"nothing listens at 10.0.0.3:7980; it may be stopped": dial(syscall.ECONNREFUSED),
		"10.0.0.3:7980 does not answer in time; it may hang, or the network may be cut": dial(
			os.ErrDeadlineExceeded),
		"there is no way to 10.0.0.3:7980; its machine or the network may be down": dial(syscall.EHOSTUNREACH),
	} {
		if got := Unreached(port, &url.Error{Op: "Post", URL: "https://" + port, Err: err}); got.Error() != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}
