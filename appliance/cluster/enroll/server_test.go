package enroll

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
)

// TestIssueServer wants a certificate that clients of the CA take for the manager's
// server, and that is nobody among nodes: neither as a client of the nodes' port nor as
// a server that nodes speak to.
func TestIssueServer(t *testing.T) {
	t.Parallel()
	ca := newTestCA(t)
	id, err := pki.ManagerIdentity(t.TempDir(), ca, pki.Self{Name: "master", Addr: loopback}, pki.Membership{})
	if err != nil {
		t.Fatal(err)
	}
	certPEM, key, err := ca.IssueServer(id, []string{"queue.test"}, netip.MustParseAddr("10.9.8.7"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{loopback.String(), "10.9.8.7", "queue.test", "master"} {
		if err := cert.Leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	localPEM, localKey, err := ca.IssueLocal("queue.test")
	if err != nil {
		t.Fatal(err)
	}
	local, err := tls.X509KeyPair(localPEM, localKey)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{"127.0.0.1": true, "queue.test": true, "master": false, "10.9.8.7": false} {
		if err := local.Leaf.VerifyHostname(host); (err == nil) != want {
			t.Errorf("a local one is for %s: %v", host, err)
		}
	}
	if id.Certificate().PrivateKey.(*ecdsa.PrivateKey).Equal(cert.PrivateKey) {
		t.Error("it has the node's key")
	}

	served := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	node, nodeAddr := listen(t)
	serve(t, tls.NewListener(node, id.ServerTLS()), Require(id, Node, served))
	server, addr := listen(t)
	serve(t, tls.NewListener(server, &tls.Config{Certificates: []tls.Certificate{cert}}), served)

	// get says how a client fares at an address.
	get := func(to string, conf *tls.Config) error {
		client := &http.Client{
			Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true},
			Timeout:   10 * time.Second,
		}
		resp, err := client.Get("https://" + to)
		if err != nil {
			return err
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			return pki.ErrNotAllowed
		}
		return nil
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(id.CAPEM())
	stolen := id.ClientTLS()
	stolen.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	for name, c := range map[string]struct {
		to   string
		conf *tls.Config
		ok   bool
	}{
		"a client of the CA":                {addr.String(), &tls.Config{RootCAs: pool}, true},
		"a client by name":                  {addr.String(), &tls.Config{RootCAs: pool, ServerName: "master"}, true},
		"a client of another name":          {addr.String(), &tls.Config{RootCAs: pool, ServerName: "other"}, false},
		"a node, of the nodes' port":        {nodeAddr.String(), id.ClientTLS(), true},
		"who stole it, of the nodes' port":  {nodeAddr.String(), stolen, false},
		"a node, of who passes for another": {addr.String(), id.ClientTLS(), false},
	} {
		if err := get(c.to, c.conf); (err == nil) != c.ok {
			t.Errorf("%s gets %v", name, err)
		}
	}
}
