package enroll

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// hostile answers one request on a connection with whatever answer writes, and
// hangs up. It returns the node's end of it.
func hostile(answer func(io.Writer)) (node net.Conn, done <-chan struct{}) {
	node, peer := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer peer.Close()
		req, err := http.ReadRequest(bufio.NewReader(peer))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		answer(peer)
	}()
	return node, ended
}

// joinThrough does what Join does once TLS stands.
func joinThrough(ctx context.Context, conn net.Conn, dir string, ca *x509.Certificate) (*pki.Identity, error) {
	key, csr, err := pki.NodeKey(dir)
	if err != nil {
		return nil, err
	}
	client := connHTTP(conn)
	defer client.CloseIdleConnections()
	var answer joinAnswer
	told, err := post(ctx, client, "https://10.0.0.1:7980"+pathJoin, joinRequest{CSR: csr}, &answer)
	if err != nil {
		return nil, err
	}
	if err := answer.check(ca, fleet.RoleWorker, told); err != nil {
		return nil, err
	}
	return accept(dir, key, worker, netip.MustParseAddrPort("10.0.0.1:7980"), &answer)
}

// answerFor lets the node in that has its key in dir: by a certificate that one CA
// signed, and shown another CA's.
func answerFor(t testing.TB, dir string, signer, shown *pki.CA) []byte {
	t.Helper()
	_, der, err := pki.NodeKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.ParseCSR(der)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := signer.Issue(csr, pki.Grant{Role: fleet.RoleWorker})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(joinAnswer{
		Membership:  pki.Membership{GossipKeys: []pki.Key{pki.NewKey()}},
		Certificate: cert.Raw, CA: shown.Certificate().Raw, Time: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzAnswer has a node read any answer. It takes only a certificate of the CA
// in its join token, for its own key; and what it says about the rest is a line
// that does a terminal no harm.
func FuzzAnswer(f *testing.F) {
	dir := f.TempDir()
	ca, mallory := newTestCA(f), newTestCA(f)
	f.Add("200 OK", answerFor(f, dir, ca, ca))
	f.Add("200 OK", answerFor(f, f.TempDir(), ca, ca))
	f.Add("200 OK", answerFor(f, dir, mallory, ca))
	f.Add("200 OK\r\nContent-Encoding: gzip", []byte("\x1f\x8b\x08\x00"))
	f.Add("403 Forbidden\r\nContent-Length: 22", []byte(`{"code":"used-up"}\x1b[2J`))
	f.Add("307 Elsewhere\r\nLocation: http://127.0.0.1/", []byte(`{}`))
	f.Add("100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", []byte("2\r\n{}\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, head string, body []byte) {
		conn, done := hostile(func(w io.Writer) { fmt.Fprintf(w, "HTTP/1.1 %s\r\n\r\n%s", head, body) })
		id, err := joinThrough(t.Context(), conn, dir, ca.Certificate())
		conn.Close()
		<-done
		if err != nil {
			if odd := strings.IndexFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }); odd >= 0 ||
				len(err.Error()) > 1000 {
				t.Errorf("message is not one short line: %.1000q", err)
			}
			return
		}
		leaf := id.Certificate().Leaf
		if err := leaf.CheckSignatureFrom(
			ca.Certificate()); err != nil ||
			!id.Certificate().PrivateKey.(*ecdsa.PrivateKey).PublicKey.Equal(leaf.PublicKey) ||
			id.Node.Role != fleet.RoleWorker {
			t.Errorf("accepted a certificate of %v: %v", leaf.Issuer, err)
		}
	})
}

func TestJoin_HostileAnswers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, mallory := newTestCA(t), newTestCA(t)
	for name, tt := range map[string]struct {
		body []byte
		want string // empty: joined
	}{
		"honest":                     {answerFor(t, dir, ca, ca), ""},
		"another CA":                 {answerFor(t, dir, mallory, mallory), errNotManager.Error()},
		"another CA's certificate":   {answerFor(t, dir, mallory, ca), "certificate is not the cluster's"},
		"another node's certificate": {answerFor(t, t.TempDir(), ca, ca), "certificate is not for this node's key"},
	} {
		conn, done := hostile(func(w io.Writer) { fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n\r\n%s", tt.body) })
		_, err := joinThrough(t.Context(), conn, dir, ca.Certificate())
		conn.Close()
		<-done
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// What never ends is given up early, whichever part of the answer it is.
func TestJoin_EndlessAnswersAreCut(t *testing.T) {
	t.Parallel()
	ca, dir := newTestCA(t), t.TempDir()
	for name, answer := range map[string]struct{ head, more string }{
		"body":    {"HTTP/1.1 200 OK\r\n\r\n", strings.Repeat(" ", 1000)},
		"headers": {"HTTP/1.1 200 OK\r\n", strings.Repeat("X: y\r\n", 100)},
		"header":  {"HTTP/1.1 200 OK\r\nX: ", strings.Repeat("y", 1000)},
		"status":  {"HTTP/1.1 200 ", strings.Repeat("y", 1000)},
		"100s":    {"", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100)},
	} {
		var sent atomic.Int64
		conn, done := hostile(func(w io.Writer) {
			n, err := io.WriteString(w, answer.head)
			for sent.Add(int64(n)); err == nil; sent.Add(int64(n)) {
				n, err = io.WriteString(w, answer.more)
			}
		})
		_, err := joinThrough(t.Context(), conn, dir, ca.Certificate())
		conn.Close()
		<-done
		if err == nil || errors.Is(err, context.DeadlineExceeded) || len(err.Error()) > 1000 {
			t.Errorf("%s: %v", name, err)
		}
		if most := int64(maxAnswer + 64<<10); sent.Load() > most {
			t.Errorf("%s: read %d bytes, want at most %d", name, sent.Load(), most)
		}
	}
}
