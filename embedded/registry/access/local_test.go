package access

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	gcr "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/crawlbox/crawlbox/embedded/registry"
)

// localSite returns a real registry behind Local; owner may be changed.
func localSite(t *testing.T, owner func(*http.Request) error) (srv *httptest.Server) {
	t.Helper()
	o := Options{}.forTest(t)
	back, err := registry.Open(t.Context(), registry.Options{Dir: t.TempDir(), MinFree: -1}, o.Log)
	if err != nil {
		t.Fatal(err)
	}
	host := func(h string) bool { return h == srv.Listener.Addr().String() }
	srv = httptest.NewServer(Local(back.Handler(), host, owner))
	t.Cleanup(func() {
		srv.Close()
		if err := back.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

func TestLocal_Owner(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	var stranger atomic.Bool
	srv := localSite(t, func(*http.Request) error {
		calls.Add(1)
		if stranger.Load() {
			return errStranger
		}
		return nil
	})
	ref, err := gcr.ParseReference(srv.Listener.Addr().String() + "/spider:1")
	if err != nil {
		t.Fatal(err)
	}
	transport := remote.WithTransport(&http.Transport{DisableKeepAlives: true})
	if err := remote.Write(ref, newImage(t), transport); err != nil {
		t.Fatalf("the engine pushes: %v", err)
	}
	if _, err := remote.Image(ref, transport); err != nil {
		t.Fatalf("the engine pulls: %v", err)
	}
	stranger.Store(true)
	if _, err := remote.Image(ref, transport); err == nil || !strings.Contains(err.Error(), errStranger.Error()) {
		t.Errorf("another process pulls: %v, want the owner's error", err)
	}
	if err := remote.Write(ref, newImage(t), transport); err == nil ||
		!strings.Contains(err.Error(), errStranger.Error()) {
		t.Errorf("another process pushes: %v, want the owner's error", err)
	}
	for _, path := range endpoints("sha256:"+strings.Repeat("0", 64), "sha256:"+strings.Repeat("1", 64)) {
		for _, method := range methods {
			calls.Store(0)
			a := localDo(t, srv, method, path, nil)
			if a.status != http.StatusForbidden {
				t.Errorf("%s %s: %d, want 403", method, path, a.status)
			}
			if method != http.MethodHead {
				wantCode(t, a, "DENIED")
			}
			if calls.Load() != 1 {
				t.Errorf("%s %s: the owner was asked for %d times", method, path, calls.Load())
			}
		}
	}
}

func TestLocal_Browser(t *testing.T) {
	t.Parallel()
	srv := localSite(t, func(*http.Request) error { return nil })
	if a := localDo(t, srv, http.MethodGet, "/v2/", nil); a.status != http.StatusOK {
		t.Fatalf("the engine: %d", a.status)
	}
	for name, change := range map[string]func(*http.Request){
		"an Origin":      func(r *http.Request) { r.Header.Set("Origin", "null") },
		"another page":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"a foreign name": func(r *http.Request) { r.Host = "rebind.example.net:8003" },
	} {
		if a := localDo(t, srv, http.MethodGet, "/v2/", change); a.status != http.StatusForbidden {
			t.Errorf("%s: %d, want 403", name, a.status)
		}
	}
}

func localDo(t *testing.T, srv *httptest.Server, method, path string, change func(*http.Request)) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := srv.Client().Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}
