package access

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	gcr "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"github.com/crawlbox/crawlbox/embedded/registry"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// One for each registry; distribution has no way to stop it.
		goleak.IgnoreTopFunction("github.com/docker/go-events.(*Broadcaster).run"))
}

// hostName is the name in httptest's certificate.
const hostName = "example.com:8003"

func isHost(h string) bool { return h == hostName }

var errStranger = errors.New("the socket belongs to python3 (4711)")

func noPeer(*http.Request) (Right, error)   { return None, errStranger }
func readPeer(*http.Request) (Right, error) { return Read, nil }

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// file is a document in a file.
type file string

var files sync.Mutex

func (f file) Load() ([]byte, error) {
	files.Lock()
	defer files.Unlock()
	return os.ReadFile(string(f))
}

func (f file) Update(_ string, fn func([]byte) ([]byte, error)) error {
	files.Lock()
	defer files.Unlock()
	data, err := os.ReadFile(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if data, err = fn(data); err != nil {
		return err
	}
	return os.WriteFile(string(f), data, 0o600)
}

func (f file) Changed() <-chan struct{} { return nil }

func newAccounts(t testing.TB) *Accounts {
	t.Helper()
	a, err := openAccounts(file(filepath.Join(t.TempDir(), "accounts.json")), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t testing.TB, a *Accounts, name string) (password string) {
	t.Helper()
	password, err := a.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	return password
}

func (o Options) forTest(t testing.TB) Options {
	t.Helper()
	if o.Accounts == nil {
		o.Accounts = newAccounts(t)
	}
	if o.Peer == nil {
		o.Peer = noPeer
	}
	o.Host = isHost
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return o
}

// site is a real registry behind Network, on TLS.
type site struct {
	t    testing.TB
	srv  *httptest.Server
	back *registry.Registry
	opts Options
}

func serve(t testing.TB, o Options) *site {
	t.Helper()
	o = o.forTest(t)
	back, err := registry.Open(t.Context(), registry.Options{Dir: t.TempDir(), MinFree: -1}, o.Log)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, back: back, opts: o, srv: httptest.NewTLSServer(Network(back.Handler(), o))}
	t.Cleanup(func() {
		s.srv.Close()
		if err := back.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// transport finds the site under its name, on a connection for each request as
// Docker has it.
func (s *site) transport() *http.Transport {
	roots := s.srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.srv.Listener.Addr().String())
		},
	}
}

func (s *site) ref(image string) gcr.Reference {
	s.t.Helper()
	ref, err := gcr.ParseReference(hostName + "/" + image)
	if err != nil {
		s.t.Fatal(err)
	}
	return ref
}

func (s *site) push(image string, img v1.Image, auth authn.Authenticator) error {
	return remote.Write(s.ref(image), img, remote.WithAuth(auth), remote.WithTransport(s.transport()),
		remote.WithRetryStatusCodes())
}

// pull reads the whole image.
func (s *site) pull(image string, auth authn.Authenticator) error {
	img, err := remote.Image(s.ref(image), remote.WithAuth(auth), remote.WithTransport(s.transport()),
		remote.WithRetryStatusCodes())
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		rc, err := l.Compressed() // checks the digest as it is read
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, rc); err != nil {
			return err
		}
		rc.Close()
	}
	return nil
}

// stored makes an image that is in the registry already.
func (s *site) stored(image string) v1.Image {
	s.t.Helper()
	img := newImage(s.t)
	password := issue(s.t, s.opts.Accounts, "storer")
	if err := s.push(image, img, login("storer", password)); err != nil {
		s.t.Fatal(err)
	}
	if err := s.opts.Accounts.Remove("storer"); err != nil {
		s.t.Fatal(err)
	}
	return img
}

// answer is an HTTP answer that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *site) do(method, path string, change func(*http.Request)) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "https://"+hostName+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := s.transport().RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func newImage(t testing.TB) v1.Image {
	t.Helper()
	img, err := random.Image(4096, 2)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func login(user, password string) authn.Authenticator {
	return authn.FromConfig(authn.AuthConfig{Username: user, Password: password})
}

func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// recorder is an audit log in memory.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) record(event string, attrs ...slog.Attr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, event+" "+slog.GroupValue(attrs...).String())
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}
