package access

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

// send sends one request to a handler, without a network.
func send(h http.Handler, from string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "https://"+hostName+"/v2/", nil)
	r.RemoteAddr = from
	change(r)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestToken_Expires(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := serve(t, Options{Peer: readPeer, Clock: clock.Now})
	password := issue(t, s.opts.Accounts, "ci")
	for name, token := range map[string]string{"node": s.token(nil), "account": s.token(basic("ci", password))} {
		if a := s.do(http.MethodGet, "/v2/", bearer(token)); a.status != http.StatusOK {
			t.Errorf("%s: a new token gives %d", name, a.status)
		}
		clock.Advance(announced)
		if a := s.do(http.MethodGet, "/v2/", bearer(token)); a.status != http.StatusOK {
			t.Errorf("%s: a token at the end of what was announced gives %d", name, a.status)
		}
		clock.Advance(tokenLife - announced)
		a := s.do(http.MethodGet, "/v2/", bearer(token))
		if a.status != http.StatusUnauthorized {
			t.Errorf("%s: an expired token gives %d, want 401", name, a.status)
		}
		// containerd asks for another token at this, and only at this.
		if want := challenge(&http.Request{Host: hostName}, true); a.header.Get("WWW-Authenticate") != want {
			t.Errorf("%s: challenge %q, want %q", name, a.header.Get("WWW-Authenticate"), want)
		}
		clock.Advance(-tokenLife)
	}
}

func TestToken_Tampered(t *testing.T) {
	t.Parallel()
	now := newClock().Now
	tokens := newTokens(now)
	holder := party{Node: netip.MustParseAddr("192.0.2.1"), Right: Read}
	token := tokens.issue(holder)
	if got, err := tokens.read(token); err != nil || got != holder {
		t.Fatalf("read %+v, %v, want %+v", got, err, holder)
	}
	for i := range token {
		changed := []byte(token)
		changed[i] ^= 1
		if _, err := tokens.read(string(changed)); err == nil {
			t.Errorf("a token with another byte %d is taken", i)
		}
		if _, err := tokens.read(token[:i]); err == nil {
			t.Errorf("a token cut at %d is taken", i)
		}
	}
	if _, err := tokens.read(token + "\n"); err == nil {
		t.Error("a token with a line end is taken")
	}
	raw, _ := tokenEncoding.DecodeString(token)
	content, _ := json.Marshal(tokenContent{
		party:   party{Node: holder.Node, Right: Write},
		Expires: now().Add(time.Hour),
	})
	if _, err := tokens.read(tokenEncoding.EncodeToString(append(raw[:32:32], content...))); err == nil {
		t.Error("a token with another content is taken")
	}
	if _, err := newTokens(now).read(token); err == nil {
		t.Error("the token of another process is taken")
	}
}

func TestToken_OfAnotherAddress(t *testing.T) {
	t.Parallel()
	n := newNetwork(http.NotFoundHandler(), Options{}.forTest(t))
	token := n.tokens.issue(party{Node: netip.MustParseAddr("192.0.2.1"), Right: Read})
	if w := send(n, "192.0.2.1:5", bearer(token)); w.Code != http.StatusNotFound {
		t.Errorf("from its address: %d", w.Code)
	}
	if w := send(n, "[::ffff:192.0.2.1]:5", bearer(token)); w.Code != http.StatusNotFound {
		t.Errorf("from its address, written as IPv6: %d", w.Code)
	}
	if w := send(n, "192.0.2.2:5", bearer(token)); w.Code != http.StatusUnauthorized {
		t.Errorf("from another address: %d, want 401", w.Code)
	}
}

func TestToken_AccountEnds(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	for name, end := range map[string]func() error{
		"removed":      func() error { return s.opts.Accounts.Remove("ci") },
		"issued again": func() error { _, err := s.opts.Accounts.Issue("ci"); return err },
		"removed and issued again": func() error {
			if err := s.opts.Accounts.Remove("ci"); err != nil {
				return err
			}
			_, err := s.opts.Accounts.Issue("ci")
			return err
		},
	} {
		password := issue(t, s.opts.Accounts, "ci")
		token := s.token(basic("ci", password))
		if a := s.do(http.MethodPost, "/v2/x/blobs/uploads/", bearer(token)); a.status != http.StatusAccepted {
			t.Fatalf("%s: write before: %d %s", name, a.status, a.body)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		for how, change := range map[string]func(*http.Request){
			"token":    bearer(token),
			"password": basic("ci", password),
		} {
			if a := s.do(http.MethodGet, "/v2/", change); a.status != http.StatusUnauthorized {
				t.Errorf("%s: the %s gives %d, want 401", name, how, a.status)
			}
		}
	}
}
