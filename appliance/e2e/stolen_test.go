package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// stolen is what somebody has who copied a node's directory: its key, and its
// certificate with the CA's.
type stolen struct {
	from *lab.Host
	cert tls.Certificate
}

// steal copies the directory of a node.
func steal(t *testing.T, h *lab.Host) stolen {
	t.Helper()
	var identity struct{ Certificate, CA []byte }
	if err := json.Unmarshal([]byte(h.ReadFile("/var/lib/crawlbox/node/identity.json")), &identity); err != nil {
		t.Fatal(err)
	}
	var chain strings.Builder
	for _, der := range [][]byte{identity.Certificate, identity.CA} {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	cert, err := tls.X509KeyPair([]byte(chain.String()), []byte(h.ReadFile("/var/lib/crawlbox/node/key.pem")))
	if err != nil {
		t.Fatal(err)
	}
	return stolen{from: h, cert: cert}
}

// client speaks to nodes as the one that was robbed, from its host, and counts
// the connections it makes. The thief checks nobody's certificate.
func (s stolen) client(dials *int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{s.cert}},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			*dials++
			return s.from.DialContext(ctx, network, addr)
		},
	}}
}

// ask sends one request over a connection of its own, and returns status and body
// in one line.
func (s stolen) ask(ctx context.Context, method, url string, header ...string) string {
	client := s.client(new(int))
	defer client.CloseIdleConnections()
	return ask(ctx, client, method, url, header...)
}

func ask(ctx context.Context, client *http.Client, method, url string, header ...string) string {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("{}"))
	if err != nil {
		return err.Error()
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.Join(strings.Fields(string(body)), " "))
}
