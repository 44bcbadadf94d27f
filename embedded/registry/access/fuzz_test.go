package access

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// request makes of bytes what net/http would make of them, nil if nothing.
func request(raw []byte, from string) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(raw))))
	if err != nil {
		return nil
	}
	r.RemoteAddr = from
	return r
}

func addSeeds(f *testing.F, more ...string) {
	for _, method := range methods {
		for _, path := range append(endpoints("sha256:aa", "sha256:bb"), "/token?account=ci&service=crawlbox", "*",
			"https://other/v2/") {
			f.Add([]byte(method+" "+path+" HTTP/1.1\r\nHost: "+hostName+"\r\n\r\n"), "192.0.2.1:1")
		}
	}
	for _, header := range more {
		f.Add([]byte("GET /v2/ HTTP/1.1\r\nHost: "+hostName+"\r\n"+header+"\r\n\r\n"), "[2001:db8::1]:1")
	}
	f.Add([]byte("GET /v2/ HTTP/1.0\r\n\r\n"), "")
	f.Add([]byte("GET /v2/ HTTP/1.1\r\nHost: \"evil\r\n\r\n"), "@")
}

func FuzzNetwork_Stranger(f *testing.F) {
	accounts := newAccounts(f)
	issue(f, accounts, "ci")
	old := newTokens(newClock().Now).issue(party{Account: "ci", Right: Write})
	addSeeds(f, "Authorization: Basic Y2k6Y2k=", "Authorization: Basic Og==", "Authorization: Basic",
		"Authorization: Bearer "+old,
		"Authorization: bearer x", "Authorization: Bearer "+strings.Repeat("A", 2000), "Origin: null",
		"Sec-Fetch-Site: none", "X-Forwarded-Proto: http", "X-Http-Method-Override: PUT")
	stranger := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		panic("reached by " + r.Method + " " + r.URL.String())
	})
	h := Network(stranger, Options{
		Accounts: accounts,
		Admit:    func(_ *http.Request, who string) { panic("admitted as " + who) },
	}.forTest(f))
	refusals := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests}
	f.Fuzz(func(t *testing.T, raw []byte, from string) {
		r := request(raw, from)
		if r == nil {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !slices.Contains(refusals, w.Code) || !json.Valid(w.Body.Bytes()) || w.Body.Len() > 64<<10 {
			t.Fatalf("the answer is %d %.200s", w.Code, w.Body)
		}
	})
}

func FuzzLocal(f *testing.F) {
	addSeeds(f, "Origin: null", "Sec-Fetch-Site: cross-site", "Host: other")
	f.Fuzz(func(t *testing.T, raw []byte, from string) {
		for _, owner := range []error{nil, errStranger} {
			r := request(raw, from)
			if r == nil {
				return
			}
			reached, asked := false, 0
			h := Local(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }), isHost,
				func(*http.Request) error { asked++; return owner })
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			_, origin := r.Header["Origin"]
			switch {
			case reached && (owner != nil || origin || r.Host != hostName):
				t.Fatal("a stranger reached the registry")
			case !reached && w.Code != http.StatusForbidden:
				t.Fatalf("the answer is %d, want 403", w.Code)
			case asked > 1:
				t.Fatalf("the owner was asked for %d times", asked)
			}
		}
	})
}

func FuzzTokens_Read(f *testing.F) {
	tokens := newTokens(newClock().Now)
	holder := party{Node: netip.MustParseAddr("192.0.2.1"), Right: Read}
	good := tokens.issue(holder)
	f.Add(good)
	f.Add("")
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := tokens.read(token); err == nil && token != good {
			t.Fatalf("%q is taken for a token", token)
		}
	})
}
