package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// certLife is how long certificates are good in TestRenewal.
const certLife = 16 * time.Second

// TestRenewal lives on for two lives of the nodes' certificates. Each is renewed
// when half of its life is over, and nobody who is connected notices.
func TestRenewal(t *testing.T) {
	t.Parallel()
	c := newShortLived(t)
	worker := c.hosts[1]
	c.awaitAgents("alive")
	c.push("localhost:8003/s:1")
	c.push("localhost:8003/s:2")
	c.pull(worker, "localhost:8003/s:1")
	begun := time.Now()

	c.hold(c.manager, steal(t, worker), "GET", "/v2/s/tags/list").overRenewal(t)
	c.hold(worker, steal(t, c.manager), "POST", "/v1/owner").overRenewal(t)
	pulled := time.Now()
	lab.WaitFor(t, patience, "the second life to end", func() error {
		c.healthy()
		if time.Since(pulled) > certLife/20 { // so that the node's connections to the manager are in use
			worker.Docker("pull", "--quiet", "localhost:8003/s:1")
			pulled = time.Now()
		}
		return want(time.Since(begun) > 2*certLife, true)
	})
	c.pull(worker, "localhost:8003/s:2")
}

// newShortLived is a manager and a worker whose certificates end soon.
func newShortLived(t *testing.T) *cluster {
	l := newLab(t)
	l.Install(artifact.BinaryWithFailpoints(t))
	c := &cluster{T: t, lab: l, hosts: l.AddHosts(2), agents: map[*lab.Host]*lab.Proc{}}
	c.manager = c.hosts[0]
	start := func(h *lab.Host, args ...string) {
		life := fmt.Sprintf("%s=%s", failpoint.EnvCertLife, certLife)
		c.agents[h] = h.Start("crawlbox", append([]string{life, "crawlbox"}, args...)...)
		c.awaitAgent(h)
	}
	start(c.manager, "manager")
	start(c.hosts[1], "worker", "--join", c.token("worker"))
	c.awaitReady(2)
	return c
}

// heldConn is one TLS connection on which a node asks again and again.
type heldConn struct {
	host        *lab.Host
	client      *http.Client
	dials       int
	method, url string
	serial      string // of the certificate that the node had at first
}

// hold connects to a host as a node.
func (c *cluster) hold(h *lab.Host, as stolen, method, path string) *heldConn {
	c.Helper()
	held := &heldConn{
		host:   h,
		method: method,
		url:    "https://" + h.At(7980) + path,
		serial: serial(c.T, h),
	}
	held.client = as.client(&held.dials)
	c.Cleanup(held.client.CloseIdleConnections)
	return held
}

// overRenewal asks over the connection until others are shown another certificate.
func (h *heldConn) overRenewal(t *testing.T) {
	t.Helper()
	lab.WaitFor(t, certLife, "a new certificate of "+h.host.Name(), func() error {
		if said := ask(t.Context(), h.client, h.method, h.url); !strings.HasPrefix(said, "200 ") || h.dials != 1 {
			t.Fatalf("%s %s over connection %d: %.200q", h.method, h.url, h.dials, said)
		}
		return want(serial(t, h.host) != h.serial, true)
	})
}

func serial(t *testing.T, h *lab.Host) string {
	t.Helper()
	conn, err := h.DialContext(t.Context(), "tcp", h.At(7980))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var leaf *x509.Certificate
	client := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf = state.PeerCertificates[0]
			return nil
		},
	})
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(leaf.NotAfter); left < certLife/4 {
		t.Errorf("%s shows a certificate that is good for %s", h.Name(), left)
	}
	return leaf.SerialNumber.String()
}

// healthy wants all nodes to be ready and heard of.
func (c *cluster) healthy() {
	c.Helper()
	for _, n := range c.nodes() {
		if n.State != fleet.StateReady || n.Agent == nil || n.Agent.State != "alive" {
			c.Fatalf("%s is %s, and its crawlbox %+v", n.Name, n.State, n.Agent)
		}
	}
}
