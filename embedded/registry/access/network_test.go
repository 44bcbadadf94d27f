package access

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

func TestNetwork_Node(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{Peer: readPeer})
	img := s.stored("spider:1")
	if err := s.pull("spider:1", authn.Anonymous); err != nil {
		t.Errorf("pull without a login: %v", err)
	}
	err := s.push("spider:2", newImage(t), authn.Anonymous)
	if err == nil || !strings.Contains(err.Error(), "DENIED") ||
		!strings.Contains(err.Error(), "docker login "+hostName) {
		t.Errorf("push without a login: %v, want DENIED that tells how to log in", err)
	}
	// A manifest whose layers are there is a write too.
	if err := s.push("spider:latest", img, authn.Anonymous); err == nil {
		t.Error("a node without a login moved a tag")
	}
}

func TestNetwork_NodeMayWrite(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{Peer: func(*http.Request) (Right, error) { return Write, nil }})
	if err := s.push("spider:1", newImage(t), authn.Anonymous); err != nil {
		t.Error(err)
	}
}

func TestNetwork_Login(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	password := issue(t, s.opts.Accounts, "ci")
	if err := s.push("spider:1", newImage(t), login("ci", password)); err != nil {
		t.Errorf("push after login: %v", err)
	}
	if err := s.pull("spider:1", login("ci", password)); err != nil {
		t.Errorf("pull after login: %v", err)
	}
	for name, auth := range map[string]authn.Authenticator{
		"wrong password": login("ci", password+"x"),
		"no password":    login("ci", ""),
		"other user":     login("cj", password),
		"nobody":         authn.Anonymous,
	} {
		if err := s.pull("spider:1", auth); err == nil || !strings.Contains(err.Error(), "UNAUTHORIZED") {
			t.Errorf("pull with %s: %v, want UNAUTHORIZED", name, err)
		}
		if err := s.push("spider:2", newImage(t), auth); err == nil || !strings.Contains(err.Error(), "UNAUTHORIZED") {
			t.Errorf("push with %s: %v, want UNAUTHORIZED", name, err)
		}
	}
}

// endpoints returns all of the API, for an image that is there.
func endpoints(digest, blob string) []string {
	return []string{
		"/v2/", "/v2", "/v2/_catalog", "/v2/_catalog?n=1", "/v2/spider/tags/list",
		"/v2/spider/manifests/1", "/v2/spider/manifests/" + digest,
		"/v2/spider/blobs/" + blob, "/v2/spider/blobs/uploads/",
		"/v2/spider/blobs/uploads/?mount=" + blob + "&from=spider",
		"/v2/spider/blobs/uploads/6b7b3b1e-5f3f-4b6e-9d2c-0c8f7d1f0001",
		"/v2/spider/referrers/" + digest, "/", "/debug/vars", "/metrics", "/token", "/token/", "//token",
		"/v2/../token",
	}
}

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodOptions, http.MethodTrace, "PROPFIND",
}

// image stores an image; it returns the digests of its manifest and a layer.
func (s *site) image() (digest, blob string) {
	s.t.Helper()
	img := s.stored("spider:1")
	d, err := img.Digest()
	if err != nil {
		s.t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := layers[0].Digest()
	if err != nil {
		s.t.Fatal(err)
	}
	return d.String(), l.String()
}

func TestNetwork_Stranger(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	digest, blob := s.image()
	before := s.listing()
	for _, path := range endpoints(digest, blob) {
		for _, method := range methods {
			a := s.do(method, path, nil)
			if a.status != http.StatusUnauthorized {
				t.Errorf("%s %s: %d, want 401", method, path, a.status)
			}
			if want := `Bearer realm="https://` + hostName + `/token",service="crawlbox"`; a.header.Get(
				"WWW-Authenticate") != want {
				t.Errorf("%s %s: challenge %q, want %q", method, path, a.header.Get("WWW-Authenticate"), want)
			}
			if method != http.MethodHead {
				wantCode(t, a, "UNAUTHORIZED")
			}
		}
	}
	if after := s.listing(); !slices.Equal(before, after) {
		t.Errorf("a stranger changed the registry: %v, was %v", after, before)
	}
}

// TestNetwork_ReadOnlyToken tries every write with the token of a node.
func TestNetwork_ReadOnlyToken(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{Peer: readPeer})
	digest, blob := s.image()
	token := s.token(nil)
	if a := s.do(http.MethodGet, "/v2/spider/manifests/1", bearer(token)); a.status != http.StatusOK {
		t.Fatalf("read with a node's token: %d %s", a.status, a.body)
	}
	for _, path := range endpoints(digest, blob) {
		for _, method := range methods {
			if path == tokenPath || method == http.MethodGet || method == http.MethodHead {
				continue
			}
			a := s.do(method, path, bearer(token))
			if a.status != http.StatusForbidden {
				t.Errorf("%s %s: %d, want 403", method, path, a.status)
			}
			wantCode(t, a, "DENIED")
		}
	}
}

func TestNetwork_NothingIsDeleted(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	digest, blob := s.image()
	password := issue(t, s.opts.Accounts, "ci")
	for _, path := range []string{
		"/v2/spider/manifests/1", "/v2/spider/manifests/" + digest, "/v2/spider/blobs/" + blob,
	} {
		a := s.do(http.MethodDelete, path, basic("ci", password))
		if a.status != http.StatusForbidden || !strings.Contains(a.body, "crawlbox images rm") {
			t.Errorf("DELETE %s: %d %s, want 403 and what to do", path, a.status, a.body)
		}
	}
}

func TestNetwork_Basic(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	s.image()
	password := issue(t, s.opts.Accounts, "ci")
	if a := s.do(http.MethodGet, "/v2/_catalog", basic("ci", password)); a.status != http.StatusOK ||
		!strings.Contains(a.body, "spider") {
		t.Errorf("catalog: %d %s", a.status, a.body)
	}
	if a := s.do(http.MethodPost, "/v2/new/blobs/uploads/", basic("ci", password)); a.status != http.StatusAccepted {
		t.Errorf("upload: %d %s", a.status, a.body)
	}
	for _, header := range []string{"Basic", "Basic !", "Basic bm9jb2xvbg==", "Digest x", "bearer", "Bearer ", " "} {
		a := s.do(http.MethodGet, "/v2/_catalog", func(r *http.Request) { r.Header.Set("Authorization", header) })
		if a.status != http.StatusUnauthorized {
			t.Errorf("Authorization %q: %d, want 401", header, a.status)
		}
	}
}

// TestNetwork_PostToken is what containerd and BuildKit do first, before GET.
func TestNetwork_PostToken(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	password := issue(t, s.opts.Accounts, "ci")
	a := s.do(http.MethodPost, "/token", func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body = io.NopCloser(strings.NewReader(
			"grant_type=password&service=crawlbox&username=ci&password=" + password))
	})
	if a.status != http.StatusUnauthorized {
		t.Errorf("POST: %d, want 401, at which they turn to GET", a.status)
	}
	if s.token(basic("ci", password)) == "" {
		t.Error("no token by GET")
	}
}

func TestNetwork_Peer(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := serve(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	a := s.do(http.MethodGet, "/token", nil)
	if a.status != http.StatusUnauthorized || !strings.Contains(a.body, "python3 (4711)") ||
		!strings.Contains(a.body, "docker login") {
		t.Errorf("a stranger is told %d %s, want the reason and what to do", a.status, a.body)
	}
	if !strings.Contains(log.String(), "python3 (4711)") {
		t.Errorf("the log has no reason: %s", &log)
	}
	password := issue(t, s.opts.Accounts, "ci")
	s.opts.Accounts.Remove("ci")
	node := serve(t, Options{Peer: readPeer})
	if a := node.do(http.MethodGet, "/token", basic("ci", password)); a.status != http.StatusUnauthorized {
		t.Errorf("a node with wrong credentials got %d, want 401", a.status)
	}
}

func TestNetwork_Browser(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{Peer: readPeer})
	password := issue(t, s.opts.Accounts, "ci")
	header := func(k, v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(k, v); r.SetBasicAuth("ci", password) }
	}
	for name, change := range map[string]func(*http.Request){
		"an Origin":       header("Origin", "https://"+hostName),
		"a null Origin":   header("Origin", "null"),
		"an empty Origin": header("Origin", ""),
		"another page":    header("Sec-Fetch-Site", "cross-site"),
		"the same site":   header("Sec-Fetch-Site", "same-origin"),
		"a foreign name": func(r *http.Request) {
			r.Host = "rebind.example.net:8003"
			r.SetBasicAuth("ci", password)
		},
		"our name at no port": func(r *http.Request) { r.Host = "example.com"; r.SetBasicAuth("ci", password) },
	} {
		for _, path := range []string{"/v2/", "/token"} {
			a := s.do(http.MethodGet, path, change)
			if a.status != http.StatusForbidden {
				t.Errorf("%s with %s: %d, want 403", path, name, a.status)
			}
			wantCode(t, a, "DENIED")
		}
	}
	if a := s.do(http.MethodGet, "/v2/", header("Sec-Fetch-Site", "none")); a.status != http.StatusOK {
		t.Errorf("typed into the address bar: %d, want 200", a.status)
	}
}

func TestNetwork_Admit(t *testing.T) {
	t.Parallel()
	var who atomic.Value
	who.Store("")
	s := serve(t, Options{Peer: readPeer, Admit: func(_ *http.Request, name string) { who.Store(name) }})
	password := issue(t, s.opts.Accounts, "ci")
	admitted := func(path string, change func(*http.Request)) string {
		who.Store("")
		s.do(http.MethodGet, path, change)
		return who.Load().(string)
	}
	for name, try := range map[string]struct {
		path   string
		change func(*http.Request)
		want   string
	}{
		"stranger":         {"/v2/", nil, ""},
		"wrong password":   {"/v2/", basic("ci", "x"), ""},
		"forged token":     {"/v2/", bearer("x"), ""},
		"login":            {"/v2/", basic("ci", password), "account ci"},
		"token of login":   {"/v2/", bearer(s.token(basic("ci", password))), "account ci"},
		"node for a token": {"/token", nil, "node 127.0.0.1"},
		"token of a node":  {"/v2/", bearer(s.token(nil)), "node 127.0.0.1"},
	} {
		if got := admitted(try.path, try.change); got != try.want {
			t.Errorf("%s: admitted as %q, want %q", name, got, try.want)
		}
	}
}

func TestNetwork_NodeRemoved(t *testing.T) {
	t.Parallel()
	var gone atomic.Bool
	s := serve(t, Options{Peer: readPeer, Member: func(a netip.Addr) bool { return a.IsLoopback() && !gone.Load() }})
	token := s.token(nil)
	if a := s.do(http.MethodGet, "/v2/", bearer(token)); a.status != http.StatusOK {
		t.Fatalf("a node: %d %s", a.status, a.body)
	}
	gone.Store(true)
	if a := s.do(http.MethodGet, "/v2/", bearer(token)); a.status != http.StatusUnauthorized {
		t.Errorf("a removed node: %d, want 401", a.status)
	}
}

func TestNetwork_Audit(t *testing.T) {
	t.Parallel()
	var audit recorder
	s := serve(t, Options{Audit: audit.record})
	password := issue(t, s.opts.Accounts, "ci")
	s.token(basic("ci", password))
	s.do(http.MethodGet, "/v2/", basic("ci", "wrong-secret"))
	s.do(http.MethodGet, "/v2/", basic(password, "x")) // typed in the wrong field
	s.do(http.MethodGet, "/v2/", bearer("forged-token"))
	lines := audit.all()
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "registry login [user=ci from=127.0.0.1:") {
		t.Fatalf("audit has %q, want a login and three that were refused", lines)
	}
	for _, line := range lines[1:] {
		if !strings.HasPrefix(line, "registry login refused [") {
			t.Errorf("audit has %q, want a refusal", line)
		}
	}
	for _, secret := range []string{password, "wrong-secret", "forged-token"} {
		if strings.Contains(strings.Join(lines, "\n"), secret) {
			t.Errorf("a secret is in the audit log: %q", lines)
		}
	}
}

// token asks for one.
func (s *site) token(change func(*http.Request)) string {
	s.t.Helper()
	a := s.do(http.MethodGet,
		"/token?service=crawlbox&scope=repository:spider:push,pull&offline_token=true&client_id=docker", change)
	var got struct {
		Token     string `json:"token"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Token == "" || got.ExpiresIn < 60 {
		s.t.Fatalf("token: %d %s", a.status, a.body)
	}
	return got.Token
}

// listing returns what the registry has.
func (s *site) listing() (names []string) {
	s.t.Helper()
	images, err := s.back.Images(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, i := range images {
		names = append(names, i.Name()+"@"+i.Digest.String())
	}
	return names
}

func wantCode(t *testing.T, a answer, code string) {
	t.Helper()
	var got struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.Errors) != 1 || got.Errors[0].Code != code ||
		got.Errors[0].Message == "" {
		t.Errorf("the answer is %s, want the error %s", a.body, code)
	}
}

// asContainerd is how an engine that keeps its images in containerd asks.
func asContainerd(r *http.Request) {
	r.Header.Set("User-Agent", "docker/29.1.3 go/go1.24.4 os/linux arch/amd64 containerd-client/2.1.5+unknown "+
		"storage-driver/overlayfs UpstreamClient(Docker-Client/29.1.3 \\(linux\\))")
}

// TestNetwork_EngineWithoutTokens wants an engine that asks for no tokens to get what
// it may have by who it is, or by its login.
func TestNetwork_EngineWithoutTokens(t *testing.T) {
	t.Parallel()
	right := func(right Right) func(*http.Request) (Right, error) {
		return func(*http.Request) (Right, error) { return right, nil }
	}
	for name, tt := range map[string]struct {
		peer        func(*http.Request) (Right, error)
		read, write int // status
	}{
		"a node":     {right(Read), http.StatusOK, http.StatusUnauthorized},
		"its own":    {right(Write), http.StatusOK, http.StatusAccepted},
		"a stranger": {noPeer, http.StatusUnauthorized, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, Options{Peer: tt.peer})
			digest, _ := s.image()
			password := issue(t, s.opts.Accounts, "ci")
			for _, ask := range []struct {
				method, path string
				want         int
			}{
				{http.MethodHead, "/v2/spider/manifests/1", tt.read},
				{http.MethodGet, "/v2/spider/manifests/" + digest, tt.read},
				{http.MethodPost, "/v2/spider/blobs/uploads/", tt.write},
			} {
				a := s.do(ask.method, ask.path, asContainerd)
				if a.status != ask.want {
					t.Errorf("%s %s: %d, want %d", ask.method, ask.path, a.status, ask.want)
				}
				if got := a.header.Get("WWW-Authenticate"); a.status == http.StatusUnauthorized &&
					got != `Basic realm="crawlbox"` {
					t.Errorf("%s %s: challenge %q", ask.method, ask.path, got)
				}
				if a := s.do(ask.method, ask.path,
					func(r *http.Request) { asContainerd(r); r.SetBasicAuth("ci", password) }); a.status >= 300 {
					t.Errorf("%s %s with a login: %d", ask.method, ask.path, a.status)
				}
			}
			if a := s.do(http.MethodDelete, "/v2/spider/manifests/"+digest, asContainerd); a.status < 400 {
				t.Errorf("a delete gives %d", a.status)
			}
		})
	}
}
