package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/caught"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

const anImage = "localhost:8003/spider:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// engine is a Docker Engine that does everything, or fails with err.
type engine struct{ err error }

func (e *engine) Container(_ context.Context, id string) (swarm.Container, error) {
	return swarm.Container{ExitCode: len(id), Said: "ok"}, e.err
}

func (e *engine) ImageDigests(context.Context) ([]string, error) { return []string{"sha256:1"}, e.err }

func (e *engine) KillTasks(context.Context, []string) error { return e.err }

func (e *engine) Pull(_ context.Context, _ string, see func(swarm.Pulled)) error {
	see(swarm.Pulled{Bytes: 5, Total: 7})
	return e.err
}

// Exec starts a program that writes its name and ends with the length of that.
func (e *engine) Exec(_ context.Context, r taskexec.Request) (taskexec.Process, error) {
	return program{r.Command[0]}, e.err
}

func (e *engine) RemoveUnused(context.Context, string) (bool, error) { return false, e.err }

// pins are those of a mirror.
type pins struct {
	mu  sync.Mutex
	set map[digest.Digest]bool
}

func (p *pins) Pin(d digest.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	added := !p.set[d]
	p.set[d] = true
	return added
}

func (p *pins) Unpin(d digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.set, d)
}

// cluster is two nodes with the same engine: one asks, the other is asked over the network.
type cluster struct {
	engine   engine
	pins     pins
	id       *pki.Identity
	handlers []Handler
	peers    *Peers
	there    fleet.Node
	here     fleet.Node
	nodes    []fleet.Node // of the swarm
	stop     func()       // so that nothing listens there any longer
}

// Nodes implements Swarm.
func (c *cluster) Nodes(context.Context) ([]fleet.Node, error) { return c.nodes, nil }

// newCluster serves the handlers through wrap; nil: as they are.
func newCluster(t *testing.T, wrap func(*cluster) http.Handler) *cluster {
	t.Helper()
	id, err := identity(t)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		id:    id,
		pins:  pins{set: map[digest.Digest]bool{}},
		there: fleet.Node{ID: "s1", Display: "there", Addr: "127.0.0.1", State: fleet.StateReady},
		here:  fleet.Node{ID: "s2", Display: "here", Addr: "10.0.0.9", State: fleet.StateReady},
	}
	log := slog.New(slog.DiscardHandler)
	node := (&upgrade.Node{Directory: upgrade.In(t.TempDir()), Version: "1", Log: log}).Init()
	c.handlers = Answers(&c.engine, &c.pins, node, log)
	served := Port(id, c.handlers)
	if wrap != nil {
		served = wrap(c)
	}
	srv := httptest.NewUnstartedServer(served)
	srv.Listener = tls.NewListener(srv.Listener, id.ServerTLS())
	srv.Start()
	t.Cleanup(srv.Close)
	c.stop = srv.Close
	client := NewClient(func(netip.AddrPort) bool { return true }, id)
	t.Cleanup(client.CloseIdleConnections)
	port := netip.MustParseAddrPort(srv.Listener.Addr().String()).Port()
	certified := func(fleet.Node) []member.Member { return []member.Member{{ID: id.Node.ID}} }
	c.peers = NewPeers(c, certified, client, netip.MustParseAddr(c.here.Addr), port, c.handlers, log)
	return c
}

// calls are all calls that one node makes about another: how they are made, and a
// request as it goes over the wire.
var calls = map[string]struct {
	do      func(ctx context.Context, p *Peers, n fleet.Node) (any, error)
	request string
	most    int64 // bytes of a request; 0: it is not read
}{
	routePull: {func(ctx context.Context, p *Peers, n fleet.Node) (any, error) {
		var last swarm.Pulled
		err := p.Pull(ctx, n, anImage, func(p swarm.Pulled) { last = p })
		return last, err
	}, `{"image":"` + anImage + `"}`, 4 << 10},
	routePrune: {func(ctx context.Context, p *Peers, n fleet.Node) (any, error) {
		return pruneCall.Do(ctx, p, n, pruneRequest{[]string{anImage}})
	}, `{"images":["` + anImage + `"]}`, 64 << 10},
	routeImages: {func(ctx context.Context, p *Peers, n fleet.Node) (any, error) {
		return imagesCall.Do(ctx, p, n, None{})
	}, ``, 0},
	routeKill: {func(ctx context.Context, p *Peers, n fleet.Node) (any, error) {
		return nil, p.Kill(ctx, n, []string{"t1"})
	}, `{"tasks":["t1"]}`, 1 << 20},
	routeContainer: {func(ctx context.Context, p *Peers, n fleet.Node) (any, error) {
		return p.Container(ctx, n, "c1")
	}, `{"id":"c1"}`, 4 << 10},
	routeUpgradeState: {func(ctx context.Context, p *Peers, n fleet.Node) (any, error) {
		return p.UpgradeState(ctx, n)
	}, ``, 0},
	routeUpgrade: {func(ctx context.Context, p *Peers, n fleet.Node) (any, error) {
		return nil, p.OfferUpgrade(ctx, n, upgrade.Offer{SHA256: "x"})
	}, `{"sha256":"x"}`, 4 << 10},
}

// TestCalls_HereAsThere: a node that asks itself gets what it would get of another one.
func TestCalls_HereAsThere(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]error{
		"well":     nil,
		"broken":   errors.New("no space left on device"),
		"not here": fmt.Errorf("%w: c1", swarm.ErrNotFound),
		"no image": fmt.Errorf("%w %s", swarm.ErrNoImage, anImage),
	} {
		c := newCluster(t, nil)
		c.engine.err = fails
		for route, call := range calls {
			here, hereErr := call.do(t.Context(), c.peers, c.here)
			there, thereErr := call.do(t.Context(), c.peers, c.there)
			if hereErr == nil && !reflect.DeepEqual(here, there) {
				t.Errorf("%s, %s: got %+v here, %+v there", name, route, here, there)
			}
			if (hereErr == nil) != (thereErr == nil) {
				t.Errorf("%s, %s: got %v here, %v there", name, route, hereErr, thereErr)
			}
			if fails == nil || hereErr == nil || thereErr == nil {
				continue
			}
			if name == "broken" && route != routeUpgrade && !strings.Contains(thereErr.Error(), fails.Error()) {
				t.Errorf("%s: %q does not say why", route, thereErr)
			}
			found := route == routeContainer && errors.Is(fails, swarm.ErrNotFound)
			missing := route == routePull && errors.Is(fails, swarm.ErrNoImage)
			if errors.Is(thereErr, swarm.ErrNotFound) != found || errors.Is(thereErr, swarm.ErrNoImage) != missing {
				t.Errorf("%s, %s: who asks is told %v", name, route, thereErr)
			}
		}
	}
}

// faulty is a Docker Engine whose every answer is a fault of crawlbox's own.
type faulty struct{ Engine }

// TestCalls_Panic: a fault in an answer ends neither this node nor another, and both say so.
func TestCalls_Panic(t *testing.T) {
	t.Parallel()
	var log sharedText
	c := newCluster(t, func(c *cluster) http.Handler {
		c.handlers = Answers(faulty{}, &c.pins, nil, slog.New(slog.NewTextHandler(&log, nil)))
		return Port(c.id, c.handlers)
	})
	for route, call := range calls {
		for place, n := range map[string]fleet.Node{"here": c.here, "there": c.there} {
			_, err := call.do(t.Context(), c.peers, n)
			if err == nil || !strings.Contains(err.Error(), caught.ErrInternal.Error()) {
				t.Errorf("%s, %s: who asks is told %v", route, place, err)
			}
			said := log.take()
			if !strings.Contains(said, "level=ERROR") || !strings.Contains(said, "agent.node.") {
				t.Errorf("%s, %s: the log has %q", route, place, said)
			}
		}
	}
}

// sharedText is what several goroutines write.
type sharedText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sharedText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sharedText) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

// TestCalls_Requests: what is longer than it may be is refused, as is what can't be read.
func TestCalls_Requests(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	ask := func(h Handler, path, body string) int {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
		return rec.Code
	}
	for _, h := range c.handlers {
		if h.Route() == routeExecute { // no Call; see TestExecute
			continue
		}
		call, ok := calls[h.Route()]
		if !ok {
			t.Fatalf("%s is not in the table of this test", h.Route())
		}
		if call.most == 0 {
			continue
		}
		_, path, _ := strings.Cut(h.Route(), " ")
		fits := call.request + strings.Repeat(" ", int(call.most)-len(call.request))
		for body, want := range map[string]bool{fits: true, fits + " ": false, "": false, "[": false} {
			if code := ask(h, path, body); (code == http.StatusOK) != want || !want && code != http.StatusBadRequest {
				t.Errorf("%s: a body of %d bytes gets %d", h.Route(), len(body), code)
			}
		}
	}
	for i, body := range map[int]string{0: `{"image":"spider:1"}`, 4: `{"id":""}`} {
		h := c.handlers[i]
		_, path, _ := strings.Cut(h.Route(), " ")
		if code := ask(h, path, body); code != http.StatusBadRequest {
			t.Errorf("%s: %s gets %d", h.Route(), body, code)
		}
	}
	err := c.peers.Pull(t.Context(), c.here, "spider:1", nil)
	if err == nil || !strings.Contains(err.Error(), "not an image with its digest") {
		t.Errorf("a node asks itself for an image without a digest, and gets %v", err)
	}
}

// TestCalls_Answers: an answer that is longer than it may be is an error, and not read to
// its end.
func TestCalls_Answers(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusOK, http.StatusServiceUnavailable} {
		var sent atomic.Int64
		c := newCluster(t, func(*cluster) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(code)
				for line := strings.Repeat("[", 4<<10); ; {
					n, err := io.WriteString(w, line)
					if sent.Add(int64(n)); err != nil {
						return
					}
				}
			})
		})
		for route, call := range calls {
			_, err := call.do(t.Context(), c.peers, c.there)
			var status *StatusError
			if refused := errors.As(err, &status); refused != (code != http.StatusOK) {
				t.Errorf("%s: %d and an endless text are %v", route, code, err)
			}
			if code == http.StatusOK && route != routeKill && !errors.Is(err, bound.ErrTooLong) { // which has no answer
				t.Errorf("%s: an endless answer is %v", route, err)
			}
		}
		if sent.Load() > 64<<20 { // buffers of the kernel
			t.Errorf("%d bytes were sent", sent.Load())
		}
	}
}

// TestCalls_Callers: a caller that is no manager gets nowhere, whatever it asks.
func TestCalls_Callers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	port := Port(c.id, c.handlers)
	for role, let := range map[string]bool{"": false, fleet.RoleWorker: false, fleet.RoleManager: true} {
		for route, call := range calls {
			method, path, _ := strings.Cut(route, " ")
			r := httptest.NewRequest(method, path, strings.NewReader(call.request))
			r.TLS = shown(t, role)
			rec := httptest.NewRecorder()
			port.ServeHTTP(rec, r)
			if (rec.Code == http.StatusOK) != let || !let && rec.Code != http.StatusForbidden {
				t.Errorf("%s: role %q gets %d", route, role, rec.Code)
			}
			if Callers[route] != enroll.Manager {
				t.Errorf("%s is for more than managers", route)
			}
		}
	}
}

// shown returns a connection on which a node has shown its certificate; none without a role.
func shown(t *testing.T, role string) *tls.ConnectionState {
	t.Helper()
	if role == "" {
		return &tls.ConnectionState{}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	id := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
	uri, err := url.Parse("crawlbox://node/" + id + "?role=" + role)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now(),
		NotAfter:     time.Now().Add(time.Hour),
		URIs:         []*url.URL{uri},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.ConnectionState{
		PeerCertificates: []*x509.Certificate{leaf},
		VerifiedChains:   [][]*x509.Certificate{{leaf}},
	}
}

// TestCalls_OnlyWhoIsAsked: another node's answer does not count, nor does one where no
// node is known.
func TestCalls_OnlyWhoIsAsked(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	for route, call := range calls {
		c.peers.certified = func(fleet.Node) []member.Member { return []member.Member{{ID: "another"}} }
		_, err := call.do(t.Context(), c.peers, c.there)
		if err == nil || !strings.Contains(err.Error(), "another node answers there") {
			t.Errorf("%s: another node's answer is %v", route, err)
		}
		c.peers.certified = func(fleet.Node) []member.Member { return nil }
		_, err = call.do(t.Context(), c.peers, c.there)
		if said := fmt.Sprint(err); !errors.Is(err, deploy.ErrNoAgent) && said != "no crawlbox runs there" {
			t.Errorf("%s: no node is known there, and the error is %v", route, err)
		}
	}
}

// TestCalls_EarlierVersion: a node that lacks the call says so, and nothing else.
func TestCalls_EarlierVersion(t *testing.T) {
	t.Parallel()
	c := newCluster(t, func(*cluster) http.Handler { return http.NotFoundHandler() })
	for route, call := range calls {
		_, err := call.do(t.Context(), c.peers, c.there)
		want := "ask the crawlbox there: it answers 404 Not Found"
		if route == routeUpgrade || route == routeUpgradeState {
			want = upgrade.TooOld
		}
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", route, err, want)
		}
	}
}

func TestPull_Pins(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	pull := func(err error) {
		c.engine.err = err
		_ = c.peers.Pull(t.Context(), c.there, anImage, func(swarm.Pulled) {})
	}
	pinned := func(want int, when string) {
		t.Helper()
		c.pins.mu.Lock()
		defer c.pins.mu.Unlock()
		if len(c.pins.set) != want {
			t.Errorf("%s: %d images are pinned, want %d", when, len(c.pins.set), want)
		}
	}
	pull(swarm.ErrNoImage)
	pinned(0, "the registry has no such image")
	pull(errors.New("for a moment"))
	pinned(1, "what has come is there for the next attempt")
	pull(swarm.ErrNoImage)
	pinned(1, "it was pinned before")
	c.nodes = []fleet.Node{c.there}
	if c.peers.Prune(t.Context(), []string{anImage}) {
		t.Error("something holds the image, and none is left")
	}
	pinned(0, "a prune")
}
