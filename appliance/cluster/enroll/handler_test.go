package enroll

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func joined(t *testing.T, m *manager, role string, self pki.Self) *pki.Identity {
	t.Helper()
	id, err := Join(t.Context(), t.TempDir(), m.string(t, role), self, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestGrant_WorkerCannotPassForAManager(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil) // at 127.0.0.1, where the requests come from too
	for name, tt := range map[string]struct {
		role   string
		addr   string
		refuse []string
		accept []string
	}{
		"manager's address": {
			fleet.RoleWorker, "10.0.0.1", []string{"10.0.0.1", "master"}, []string{"localhost", "127.0.0.1"},
		},
		"somebody's address": {fleet.RoleWorker, "10.0.0.9", []string{"10.0.0.9", "master"}, []string{"localhost"}},
		"a manager by a token": {
			fleet.RoleManager, "10.0.0.9", []string{"10.0.0.1", "10.0.0.9", "master"}, []string{"localhost"},
		},
	} {
		leaf := joined(t, m, tt.role, pki.Self{Name: "master", Addr: netip.MustParseAddr(tt.addr)}).Certificate().Leaf
		for _, host := range tt.refuse {
			if leaf.VerifyHostname(host) == nil {
				t.Errorf("%s: passes for %s", name, host)
			}
		}
		for _, host := range tt.accept {
			if err := leaf.VerifyHostname(host); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	r := httptest.NewRequest(http.MethodPost, pathJoin, nil)
	r.RemoteAddr = "[::ffff:10.0.0.2]:5000"
	if g := m.grant(r, "id", fleet.RoleWorker, "w", worker.Addr); len(g.Addrs) != 1 || len(g.Names) != 0 {
		t.Errorf("worker that comes from its address is granted %+v", g)
	}
}

func get1(client *http.Client, url string) (int, string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestRequire(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	w := joined(t, m, fleet.RoleWorker, worker)
	other := startManager(t, nil)
	foreign := joined(t, other, fleet.RoleWorker, worker)

	// The foreign node checks the server by the right CA, and shows its own certificate.
	stolen := w.ClientTLS(fleet.RoleManager)
	stolen.GetClientCertificate = foreign.ClientTLS().GetClientCertificate
	nobody := w.ClientTLS(fleet.RoleManager)
	nobody.GetClientCertificate = nil
	for name, tt := range map[string]struct {
		conf *tls.Config
		code int // 0: no connection
		body string
	}{
		"worker":               {w.ClientTLS(fleet.RoleManager), http.StatusOK, w.Node.ID},
		"manager":              {m.id.ClientTLS(), http.StatusOK, m.id.Node.ID},
		"no certificate":       {nobody, http.StatusForbidden, "not-allowed"},
		"other cluster's":      {stolen, 0, ""},
		"server is a manager":  {w.ClientTLS(fleet.RoleWorker), 0, ""},
		"server of another CA": {foreign.ClientTLS(), 0, ""},
	} {
		transport := &http.Transport{TLSClientConfig: tt.conf}
		code, body, err := get1(&http.Client{Transport: transport}, "https://"+m.addr.String()+"/who")
		transport.CloseIdleConnections()
		if code != tt.code || !strings.Contains(body, tt.body) || (err != nil) != (tt.code == 0) {
			t.Errorf("%s: %d %q, %v", name, code, body, err)
		}
	}
}

// TestRequire_EndsOldConnections asks on connections whose certificates have
// a tenth of their life left, or none.
func TestRequire_EndsOldConnections(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	w := joined(t, m, fleet.RoleWorker, worker)
	csr, err := w.CSR()
	if err != nil {
		t.Fatal(err)
	}
	req, err := pki.ParseCSR(csr)
	if err != nil {
		t.Fatal(err)
	}
	h := Require(m.id, Node, http.NotFoundHandler())
	for _, tt := range []struct {
		left  time.Duration // of 10 hours
		close string
		code  int
	}{
		{5 * time.Hour, "", http.StatusNotFound},
		{time.Hour - time.Minute, "close", http.StatusNotFound},
		{-time.Minute, "close", http.StatusForbidden},
	} {
		until := time.Now().Add(tt.left)
		leaf, err := m.CA.Issue(req, pki.Grant{Role: fleet.RoleWorker, From: until.Add(-10 * time.Hour), Until: until})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != tt.code || rec.Header().Get("Connection") != tt.close {
			t.Errorf("%s left: %d, Connection: %q", tt.left, rec.Code, rec.Header().Get("Connection"))
		}
	}
}

func TestRenew_WithoutDroppedConnection(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	dir := t.TempDir()
	w, err := Join(t.Context(), dir, m.string(t, fleet.RoleWorker), worker, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	before := w.Certificate().Leaf
	transport := &http.Transport{TLSClientConfig: w.ClientTLS()}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	url := "https://" + m.addr.String() + "/who"
	for range 2 {
		if _, body, err := get1(client, url); err != nil || body != w.Node.ID {
			t.Fatalf("%q, %v", body, err)
		}
		if err := Renew(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	after := w.Certificate().Leaf
	if after.SerialNumber.Cmp(before.SerialNumber) == 0 {
		t.Error("certificate is the old one")
	}
	saved, err := pki.LoadIdentity(dir)
	if err != nil || !saved.Certificate().Leaf.Equal(after) || saved.Node != w.Node {
		t.Errorf("saved %v, %v", saved, err)
	}
	if info, err := pki.InfoFrom(after); err != nil || info != w.Node {
		t.Errorf("renewed as %+v, %v", info, err)
	}
}

func TestRenew_OnlyForItself(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	a, b := joined(t, m, fleet.RoleWorker, worker), joined(t, m, fleet.RoleWorker, worker)
	csr, err := b.CSR()
	if err != nil {
		t.Fatal(err)
	}
	req := renewRequest{Version: wireVersion, CSR: csr, Addr: worker.Addr}
	if _, err := askRenewal(t.Context(), a, m.addr, req); !errors.Is(err, pki.ErrNotAllowed) {
		t.Errorf("one node renews another: %v", err)
	}
	mm := joined(t, m, fleet.RoleManager, pki.Self{Name: "second", Addr: netip.MustParseAddr("10.0.0.3")})
	if err := Renew(t.Context(), mm); err != nil {
		t.Fatal(err)
	}
	if err := mm.Certificate().Leaf.VerifyHostname("second"); err != nil {
		t.Errorf("manager lost its name: %v", err)
	}
}

func TestRenew_Ticket(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	dir := t.TempDir()
	w, err := Join(t.Context(), dir, m.string(t, fleet.RoleWorker), worker, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	given := w.Membership()
	wants := func(when string, token pki.SwarmToken) {
		t.Helper()
		saved, err := pki.LoadIdentity(dir)
		if err != nil {
			t.Fatal(err)
		}
		want := given
		if want.Swarm.Token = token; token == "" {
			want.Swarm.Managers = nil
		}
		for _, got := range []pki.Membership{w.Membership(), saved.Membership()} {
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v with ticket %q, want %+v with %q", when, got, string(got.Swarm.Token), want,
					string(token))
			}
		}
	}
	for _, step := range []struct {
		name string
		do   func() error
		want pki.SwarmToken
	}{
		{"renewed", func() error { return Renew(t.Context(), w) }, "SWMTKN-1-worker"},
		{"dropped", w.DropSwarmToken, ""},
		{"renewed without", func() error { return Renew(t.Context(), w) }, ""},
		{"renewed with", func() error { return RenewSwarmToken(t.Context(), w) }, "SWMTKN-1-worker"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		wants(step.name, step.want)
	}
}

func TestKeepRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := newTestCA(t)
		id, err := pki.ManagerIdentity(t.TempDir(), ca, pki.Self{Name: "master", Addr: loopback}, pki.Membership{})
		if err != nil {
			t.Fatal(err)
		}
		if id.NeedsRenewal(time.Now()) || !id.NeedsRenewal(time.Now().Add(46*24*time.Hour)) {
			t.Error("not due at half life")
		}
		ctx, cancel := context.WithCancel(t.Context())
		tries := 0
		go func() {
			_ = pki.KeepRenewed(ctx, id, func(context.Context) error {
				if tries++; tries%3 != 0 {
					return errors.New("manager is away")
				}
				return ca.Reissue(id)
			}, testLog(t))
		}()
		time.Sleep(365 * 24 * time.Hour) // of the bubble's clock
		if left := time.Until(id.Certificate().Leaf.NotAfter); left < 40*24*time.Hour {
			t.Errorf("after a year %s are left", left)
		}
		if tries < 3*7 || tries > 3*9 {
			t.Errorf("%d tries in a year", tries)
		}
		cancel()
		synctest.Wait()
	})
}

func TestHandler_RefusesBadRequests(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	good := goodRequest(t, m)
	h, hosts := handlerOf(m.Server), 0
	change := func(key string, value any) string {
		var fields map[string]any
		if err := json.Unmarshal([]byte(good), &fields); err != nil {
			t.Fatal(err)
		}
		fields[key] = value
		data, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for name, tt := range map[string]struct {
		body string
		code int
		want string
	}{
		"good":           {good, http.StatusOK, "certificate"},
		"empty":          {"", http.StatusBadRequest, "bad-request"},
		"not JSON":       {"hello", http.StatusBadRequest, "bad-request"},
		"two values":     {good + "{}", http.StatusBadRequest, "bad-request"},
		"version":        {change("version", 2), http.StatusBadRequest, "version"},
		"unknown field":  {change("x", 1), http.StatusBadRequest, "bad-request"},
		"too long":       {change("name", strings.Repeat("x", maxRequest)), http.StatusBadRequest, "bad-request"},
		"short secret":   {change("secret", "YQ=="), http.StatusBadRequest, "bad-request"},
		"role":           {change("role", "king"), http.StatusBadRequest, "bad-request"},
		"name":           {change("name", "a b"), http.StatusBadRequest, "bad-request"},
		"address":        {change("addr", "0.0.0.0"), http.StatusBadRequest, "bad-request"},
		"no CSR":         {change("csr", ""), http.StatusBadRequest, "bad-request"},
		"CSR is garbage": {change("csr", "AAAA"), http.StatusBadRequest, "bad-request"},
	} {
		rec, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, pathJoin, strings.NewReader(tt.body))
		hosts++ // one alone would soon be told to wait
		req.RemoteAddr = fmt.Sprintf("10.1.0.%d:5000", hosts)
		h.ServeHTTP(rec, req)
		if rec.Code != tt.code || !strings.Contains(rec.Body.String(), tt.want) {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	for _, path := range []string{pathRenew, "/v1/other"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}")))
		if rec.Code/100 != 4 {
			t.Errorf("%s without a certificate: %d", path, rec.Code)
		}
	}
}

func goodRequest(t testing.TB, m *manager) string {
	t.Helper()
	c, err := m.Tokens.Standing(fleet.RoleWorker)
	if err != nil {
		t.Fatal(err)
	}
	_, csr, err := pki.NodeKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(joinRequest{
		Version: wireVersion, Token: c.ID, Secret: c.Secret[:], Role: fleet.RoleWorker,
		CSR: csr, Name: "w", Addr: worker.Addr, Crawlbox: "1.0",
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestInfoFrom_Strict(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	good := m.id.Certificate().Leaf
	if _, err := pki.InfoFrom(good); err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{
		"", "spiffe://x/y", "crawlbox://node/" + m.id.Node.ID, "crawlbox://node/" + m.id.Node.ID + "?role=king",
		"crawlbox://node/aaaaaaaaaaaaaaaaaaaaaaaaaa?role=manager",
		"crawlbox://node/" + m.id.Node.ID + "?role=manager&role=worker",
		"crawlbox://x@node/" + m.id.Node.ID + "?role=manager", "crawlbox://node/" + m.id.Node.ID + "?role=manager#x",
	} {
		cert := &x509.Certificate{RawSubjectPublicKeyInfo: good.RawSubjectPublicKeyInfo, URIs: parseURIs(t, uri)}
		if info, err := pki.InfoFrom(cert); err == nil {
			t.Errorf("%q is taken for %+v", uri, info)
		}
	}
}

func FuzzDecodeJoin(f *testing.F) {
	f.Add(`{"version":1,"token":"abcdefgh","secret":"c2VjcmV0LXNlY3JldC0xNg==","role":"worker","csr":"","name":"w","addr":"10.0.0.1","crawlbox":"1"}`)
	f.Add(`{"version":2}`)
	f.Fuzz(func(t *testing.T, body string) {
		req, err := decodeJoin([]byte(body))
		if err != nil {
			if !errors.Is(err, ErrBadRequest) && !errors.Is(err, ErrVersion) {
				t.Errorf("error has no code: %v", err)
			}
			return
		}
		if strings.ContainsAny(fmt.Sprint(req.Name, req.Addr, req.Role), "\n\x1b \"") {
			t.Errorf("odd characters let through: %+v", req)
		}
		_, _ = pki.ParseCSR(req.CSR)
	})
}

func parseURIs(t *testing.T, uri string) []*url.URL {
	t.Helper()
	if uri == "" {
		return nil
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	return []*url.URL{u}
}
