package enroll

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// newServer returns the exchange without a socket. Its one token is that of
// testString, so that what a fuzz test finds means the same in each process.
func newServer(t testing.TB) *Server {
	t.Helper()
	dir := t.TempDir()
	tokens := `[{"id":"abcdefgh","role":"worker","created":"2026-01-01T00:00:00Z","hash":"` + hashOfSecret + `"}]`
	if err := os.WriteFile(filepath.Join(dir, "tokens.json"), []byte(tokens), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(options(t, dir, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// requestWith returns a join that newServer allows, with changes.
func requestWith(t testing.TB, change func(*joinRequest)) string {
	t.Helper()
	_, csr, err := pki.NodeKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := testToken()
	req := joinRequest{
		Version: wireVersion, Token: s.Token, Secret: s.Secret[:], Role: s.Role,
		CSR: csr, Name: "w", Addr: worker.Addr, Crawlbox: "1.0",
	}
	change(&req)
	data, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func postTo(h http.Handler, path, body string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return rec
}

func TestHandler_TooManyWrongTries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := handlerOf(newServer(t))
		right := requestWith(t, func(*joinRequest) {})
		wrong := requestWith(t, func(r *joinRequest) { r.Secret = make([]byte, len(token.Secret{})) })
		for range 2 * limitBurst {
			if rec := postTo(h, pathJoin, right); rec.Code != http.StatusOK {
				t.Fatalf("right: %d %s", rec.Code, rec.Body)
			}
		}
		for range limitBurst {
			if rec := postTo(h, pathJoin, wrong); rec.Code != http.StatusForbidden ||
				!strings.Contains(rec.Body.String(), "bad-secret") {
				t.Fatalf("wrong: %d %s", rec.Code, rec.Body)
			}
		}
		for name, body := range map[string]string{"wrong": wrong, "right": right} {
			if rec := postTo(h, pathJoin, body); rec.Code != http.StatusTooManyRequests ||
				!strings.Contains(rec.Body.String(), "too-many") {
				t.Errorf("%s after too many: %d %s", name, rec.Code, rec.Body)
			}
		}
		elsewhere := httptest.NewRequest(http.MethodPost, pathJoin, strings.NewReader(right))
		elsewhere.RemoteAddr = "198.51.100.1:5000"
		rec := httptest.NewRecorder()
		if h.ServeHTTP(rec, elsewhere); rec.Code != http.StatusOK {
			t.Errorf("from another address: %d %s", rec.Code, rec.Body)
		}
		time.Sleep(limitPause) // of the bubble's clock
		if rec := postTo(h, pathJoin, right); rec.Code != http.StatusOK {
			t.Errorf("after the pause: %d %s", rec.Code, rec.Body)
		}
	})
}

// A stranger hears of the secret before anything else, and a request that is bad
// does not use its token up.
func TestHandler_BadRequestUsesNothingUp(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	once, err := s.Tokens.Issue(fleet.RoleWorker, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	body := func(secret token.Secret, csr []byte) string {
		return requestWith(t, func(r *joinRequest) {
			r.Token, r.Secret = once.ID, secret[:]
			if csr != nil {
				r.CSR = csr
			}
		})
	}
	for _, step := range []struct{ name, body, want string }{
		{"bad request of a stranger", body(token.Secret{}, []byte("x")), "bad-secret"},
		{"bad request", body(once.Secret, []byte("x")), "bad-request"},
		{"good request", body(once.Secret, nil), "certificate"},
		{"another node", body(once.Secret, nil), "used-up"},
	} {
		if rec := postTo(handlerOf(s), pathJoin, step.body); !strings.Contains(rec.Body.String(), step.want) {
			t.Errorf("%s: %d %s, want %s", step.name, rec.Code, rec.Body, step.want)
		}
	}
}

// checkAnswer fails where a stranger gets a secret, or more than a node would read.
func checkAnswer(t *testing.T, s *Server, rec *httptest.ResponseRecorder) {
	t.Helper()
	if rec.Body.Len() >= maxAnswer {
		t.Errorf("%d bytes for a stranger", rec.Body.Len())
	}
	secrets := []string{"SWMTKN", base64.StdEncoding.EncodeToString(s.Keys.All()[0])}
	for _, secret := range secrets {
		if strings.Contains(rec.Body.String(), secret) {
			t.Errorf("a stranger got %s", rec.Body)
		}
	}
}

// strangers counts up, so that no address has tried too often.
var strangers atomic.Uint32

func strangerAddr() string {
	n := strangers.Add(1)
	addr := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	return netip.AddrPortFrom(addr, 5000).String()
}

// FuzzJoinExchange sends any body to what takes one: as a stranger, and as a
// node, which may renew its own certificate but has not the key for another.
func FuzzJoinExchange(f *testing.F) {
	s := newServer(f)
	h := handlerOf(s)
	seed := func(change func(*joinRequest)) {
		f.Add(pathJoin, false, requestWith(f, change))
	}
	seed(func(r *joinRequest) { r.Secret = make([]byte, len(token.Secret{})) })
	seed(func(r *joinRequest) { r.Token = "zzzzzzzz" })
	seed(func(r *joinRequest) { r.CSR = []byte("not a certificate request") })
	seed(func(r *joinRequest) { r.Role, r.CSR = fleet.RoleManager, nil })
	f.Add(pathJoin, true, `{"version":2}`)
	_, csr, err := pki.NodeKey(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	renewal, err := json.Marshal(renewRequest{Version: wireVersion, CSR: csr, Addr: worker.Addr, SwarmToken: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pathRenew, true, string(renewal))
	f.Add(pathRenew, false, string(renewal))
	node := s.Identity.Certificate().Leaf
	f.Fuzz(func(t *testing.T, path string, asNode bool, body string) {
		if path != pathJoin && path != pathRenew {
			return
		}
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.RemoteAddr = strangerAddr()
		if asNode {
			r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{node}}}
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		checkAnswer(t, s, rec)
		var no refusal
		if err := json.Unmarshal(rec.Body.Bytes(), &no); err != nil || errors.Is(no.err(), errNotManager) ||
			rec.Code/100 != 4 {
			t.Errorf("answer is no refusal: %d %s", rec.Code, rec.Body)
		}
	})
}

// FuzzHandler_Stranger sends any request a connection without a certificate can
// bring.
func FuzzHandler_Stranger(f *testing.F) {
	s := newServer(f)
	h := handlerOf(s)
	f.Add("POST", pathJoin, "Content-Length: 2", "{}")
	f.Add("POST", pathRenew, "Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n")
	f.Add("POST", pathFollow, "Expect: 100-continue", "{}")
	f.Add("GET", pathTime, "Connection: upgrade", "")
	f.Add("HEAD", "https://elsewhere/../v1//time?x=%zz", "Range: bytes=0-1", "")
	f.Add("CONNECT", "elsewhere:443", "Upgrade: h2c", "PRI * HTTP/2.0")
	f.Fuzz(func(t *testing.T, method, path, header, body string) {
		raw := method + " " + path + " HTTP/1.1\r\nHost: manager\r\n" + header + "\r\n\r\n" + body
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil || len(raw) > maxRequest { // servers bound headers, too
			return
		}
		r.RemoteAddr = strangerAddr()
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		checkAnswer(t, s, rec)
		asksTime := r.URL.Path == pathTime && (r.Method == http.MethodGet || r.Method == http.MethodHead)
		if ok := rec.Code == http.StatusOK; ok != asksTime || rec.Code >= 500 || rec.Code < 200 {
			t.Errorf("%s %s: %d %s", r.Method, r.URL, rec.Code, rec.Body)
		}
	})
}
