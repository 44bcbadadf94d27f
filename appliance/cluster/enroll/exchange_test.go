package enroll

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// fakeSwarm stands for Docker Swarm, which these tests have none of.
type fakeSwarm struct {
	err error // of all calls

	mu        sync.Mutex
	nodes     []member.Node
	rotations int
	fail      error // of those that change something
}

func (f *fakeSwarm) SwarmJoinToken(_ context.Context, role string) (string, []string, error) {
	return "SWMTKN-1-" + role, []string{"10.0.0.1:2377"}, f.err
}

func (f *fakeSwarm) SwarmNodes(context.Context) ([]member.Node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.nodes), f.err
}

func (f *fakeSwarm) RotateJoinTokens(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(f.err, f.fail); err != nil {
		return err
	}
	f.rotations++
	return nil
}

func (f *fakeSwarm) RemoveNode(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := errors.Join(f.err, f.fail); err != nil {
		return err
	}
	f.nodes = slices.DeleteFunc(f.nodes, func(n member.Node) bool { return n.ID == id })
	return nil
}

// has makes it Swarm's list of nodes.
func (f *fakeSwarm) has(nodes ...member.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes = nodes
}

func (f *fakeSwarm) rotated() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rotations
}

// manager is a real one, as far as this package goes, on loopback.
type manager struct {
	*Server
	id    *pki.Identity
	addr  netip.AddrPort
	dir   string // of tokens, members and keys
	idDir string // of the identity
	swarm *fakeSwarm

	trail trail
}

// trail keeps the lines of audit.
type trail struct {
	mu    sync.Mutex
	lines []string
}

func (a *trail) record(event string, attrs ...slog.Attr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines = append(a.lines, event+" "+fmt.Sprint(attrs))
}

func (a *trail) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.lines)
}

func openMembers(t testing.TB, dir string) *member.List {
	t.Helper()
	m, err := member.Open(statetest.Open(t, dir), pki.NodeLife())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func openKeys(t testing.TB, dir string) *member.Keys {
	t.Helper()
	k, err := member.OpenKeys(statetest.Open(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var loopback = netip.MustParseAddr("127.0.0.1")

func startManager(t *testing.T, swarmErr error) *manager {
	t.Helper()
	m := &manager{swarm: &fakeSwarm{err: swarmErr}}
	listener, addr := listen(t)
	m.addr = addr
	m.dir, m.idDir = t.TempDir(), t.TempDir()
	o := options(t, m.dir, m.idDir)
	m.id, o.Swarm, o.Audit, o.Log = o.Identity, m.swarm, m.trail.record, testLog(t)
	o.Seeds = func() []netip.AddrPort { return []netip.AddrPort{netip.AddrPortFrom(loopback, 7981)} }
	o.Managers = func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:7980"), m.addr} }
	var err error
	if m.Server, err = NewServer(o); err != nil {
		t.Fatal(err)
	}
	m.gathered, m.spread = time.Now(), 0
	mux := http.NewServeMux()
	mux.Handle("/", handlerOf(m.Server))
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _ := PeerFrom(r.Context())
		fmt.Fprint(w, peer.ID)
	})
	mux.Handle("/who", Require(m.id, Node, who))
	mux.Handle("/order", Require(m.id, Manager, who))
	serve(t, tls.NewListener(listener, m.id.ServerTLS()), mux)
	return m
}

// handlerOf serves the exchange as a node does.
func handlerOf(s *Server) http.Handler {
	mux := http.NewServeMux()
	for route, h := range s.Handlers() {
		who := Anyone
		if route == RouteRenew || route == RouteFollow {
			who = Returning
		}
		mux.Handle(route, Require(s.Identity, who, h))
	}
	return mux
}

func listen(t *testing.T) (net.Listener, netip.AddrPort) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener, netip.MustParseAddrPort(listener.Addr().String())
}

func serve(t *testing.T, listener net.Listener, h http.Handler) {
	t.Helper()
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(t.Output(), "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(listener)
	}()
	t.Cleanup(func() { srv.Close(); <-done })
}

func (m *manager) string(t *testing.T, role string) token.JoinToken {
	t.Helper()
	c, err := m.Tokens.Standing(role)
	if err != nil {
		t.Fatal(err)
	}
	return token.JoinToken{
		Role:     role,
		Managers: []netip.AddrPort{m.addr},
		CA:       m.CA.Hash(),
		Token:    c.ID,
		Secret:   c.Secret,
	}
}

// expire has the token at an index be one that ended a minute ago.
func (m *manager) expire(t *testing.T, index int) {
	t.Helper()
	path := filepath.Join(m.dir, "tokens.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	list[index]["expires"] = time.Now().Add(-time.Minute)
	if data, err = json.Marshal(list); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	m.Tokens = openTokens(t, m.dir)
}

var worker = pki.Self{Name: "worker-1", Addr: netip.MustParseAddr("10.0.0.2"), Version: "1.0"}

func TestJoin_GivesAnIdentity(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	dir := filepath.Join(t.TempDir(), "node")
	id, err := Join(t.Context(), dir, m.string(t, fleet.RoleWorker), worker, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	want := pki.Membership{
		Cluster:    m.CA.Hash().ClusterID(),
		Managers:   []netip.AddrPort{m.addr, netip.MustParseAddrPort("10.0.0.1:7980")}, // the one that worked first
		Swarm:      pki.SwarmJoin{Token: "SWMTKN-1-worker", Managers: []string{"10.0.0.1:2377"}},
		GossipKeys: m.Keys.All(),
		Seeds:      m.Seeds(),
		Removed:    []string{},
		ManagerIDs: []string{m.id.Node.ID},
	}
	loaded, err := pki.LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]*pki.Identity{"given": id, "loaded": loaded} {
		if got := id.Membership(); !reflect.DeepEqual(got, want) || string(got.Swarm.Token) != "SWMTKN-1-worker" {
			t.Errorf("%s: membership %+v, want %+v", name, got, want)
		}
		if id.Node.Role != fleet.RoleWorker || id.Self != worker || id.CA() != m.CA.Hash() {
			t.Errorf("%s: identity %v of %+v", name, id, id.Self)
		}
	}
	testenv.WantMode(t, dir, 0o700)
	testenv.WantMode(t, filepath.Join(dir, pki.KeyFile), 0o600)
	testenv.WantMode(t, filepath.Join(dir, pki.IdentityFile), 0o600)
}

func TestJoin_AgainAsksNobody(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	dir, s := t.TempDir(), m.string(t, fleet.RoleWorker)
	first, err := Join(t.Context(), dir, s, worker, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	listener, nobody := listen(t)
	listener.Close()
	s.Managers = []netip.AddrPort{nobody}
	again, err := Join(t.Context(), dir, s, worker, testLog(t))
	if err != nil || again.Node != first.Node {
		t.Errorf("second join: %v, %v", again, err)
	}
	s.Role = fleet.RoleManager
	if _, err := Join(t.Context(), dir, s, worker, testLog(t)); !errors.Is(err, pki.ErrOtherRole) {
		t.Errorf("as manager: %v", err)
	}
	other := startManager(t, nil)
	if _, err := Join(t.Context(), dir, other.string(t, fleet.RoleWorker), worker,
		testLog(t)); !errors.Is(err, pki.ErrOtherCluster) {
		t.Errorf("in another cluster: %v", err)
	}
	if err := pki.Forget(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), dir, other.string(t, fleet.RoleWorker), worker, testLog(t)); err != nil {
		t.Errorf("after leaving: %v", err)
	}
}

func TestJoin_ReplacesAnExpiredCertificate(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	dir, s := t.TempDir(), m.string(t, fleet.RoleWorker)
	id, err := Join(t.Context(), dir, s, worker, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	der, err := id.CSR()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.ParseCSR(der)
	if err != nil {
		t.Fatal(err)
	}
	old, err := m.CA.Issue(csr, pki.Grant{
		Role:  fleet.RoleWorker,
		From:  time.Now().Add(-time.Hour),
		Until: time.Now().Add(-time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(id.Use(old.Raw), id.Save()); err != nil {
		t.Fatal(err)
	}
	if err := Renew(t.Context(), id); err == nil {
		t.Error("expired certificate was renewed")
	}
	again, err := Join(t.Context(), dir, s, worker, testLog(t))
	if err != nil || again.Expired(time.Now()) || again.Node != id.Node {
		t.Errorf("joined again as %v, %v", again, err)
	}
}

func TestJoin_CutOffKeepsItsID(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	dir, s := t.TempDir(), m.string(t, fleet.RoleWorker)
	first, err := Join(t.Context(), dir, s, worker, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	// as if the power went before it was written
	if err := os.Remove(filepath.Join(dir, pki.IdentityFile)); err != nil {
		t.Fatal(err)
	}
	again, err := Join(t.Context(), dir, s, worker, testLog(t))
	if err != nil || again.Node != first.Node {
		t.Errorf("joined again as %v, first as %v, %v", again, first, err)
	}
}

func TestJoin_Refusals(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	broken := startManager(t, errors.New("swarm has no leader"))
	short, err := m.Tokens.Issue(fleet.RoleWorker, time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	m.expire(t, 0)
	for name, tt := range map[string]struct {
		spoil func(*token.JoinToken, *pki.Self)
		want  error
	}{
		"secret":  {func(s *token.JoinToken, _ *pki.Self) { s.Secret[0] ^= 1 }, token.ErrBadSecret},
		"unknown": {func(s *token.JoinToken, _ *pki.Self) { s.Token = "zzzzzzzz" }, token.ErrUnknownToken},
		"role":    {func(s *token.JoinToken, _ *pki.Self) { s.Role = fleet.RoleManager }, token.ErrWrongRole},
		"expired": {func(s *token.JoinToken, _ *pki.Self) {
			s.Token, s.Secret = short.ID, short.Secret
		}, token.ErrExpiredToken},
		"CA hash": {func(s *token.JoinToken, _ *pki.Self) { s.CA[0] ^= 1 }, ErrImpostor},
		"swarm":   {func(s *token.JoinToken, _ *pki.Self) { *s = broken.string(t, fleet.RoleWorker) }, ErrUnavailable},
	} {
		dir, s, self := t.TempDir(), m.string(t, fleet.RoleWorker), worker
		tt.spoil(&s, &self)
		_, err := Join(t.Context(), dir, s, self, testLog(t))
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
			continue
		}
		if text := err.Error(); strings.Contains(text, "\n") || !strings.Contains(text, s.Managers[0].String()) ||
			strings.Contains(text, "leader") {
			t.Errorf("%s: message is not one line that says where: %s", name, text)
		}
		if _, err := pki.LoadIdentity(dir); !errors.Is(err, pki.ErrNotJoined) {
			t.Errorf("%s: something was kept: %v", name, err)
		}
	}
	odd := worker
	odd.Name = "-\x1b[2J"
	if _, err := Join(t.Context(), t.TempDir(), m.string(t, fleet.RoleWorker), odd, testLog(t)); err == nil {
		t.Error("joined with a host name of control characters")
	}
}

func TestJoin_ImpostorLearnsNothing(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	mallory := startManager(t, nil) // has a CA of its own
	copied := *mallory.id.Certificate()
	// It can copy the true CA's certificate, which is public.
	copied.Certificate = [][]byte{copied.Certificate[0], m.CA.Certificate().Raw}
	peer, err := Join(t.Context(), t.TempDir(), m.string(t, fleet.RoleWorker), worker, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		cert *tls.Certificate
		want string
	}{
		"own CA":         {mallory.id.Certificate(), ErrImpostor.Error()},
		"true CA's copy": {&copied, ErrImpostor.Error()},
		"a worker's":     {peer.Certificate(), "worker"},
		"leaf alone": {&tls.Certificate{
			Certificate: m.id.Certificate().Certificate[:1],
			PrivateKey:  m.id.Certificate().PrivateKey,
		}, ErrImpostor.Error()},
		"true certs only": {&tls.Certificate{
			Certificate: m.id.Certificate().Certificate,
			PrivateKey:  mallory.id.Certificate().PrivateKey,
		}, "TLS"},
	} {
		s := m.string(t, fleet.RoleWorker)
		var received chan []byte
		s.Managers[0], received = record(t, tt.cert)
		_, err := Join(t.Context(), t.TempDir(), s, worker, testLog(t))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if got := <-received; len(got) > 0 {
			t.Errorf("%s: it received %q", name, got)
		}
	}
}

// record accepts one TLS connection with the certificate, and hands out what the
// client sent inside it.
func record(t *testing.T, cert *tls.Certificate) (netip.AddrPort, chan []byte) {
	t.Helper()
	listener, addr := listen(t)
	received := make(chan []byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			received <- []byte(err.Error())
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 64<<10)
		n, _ := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*cert}}).Read(buf)
		received <- buf[:n]
	}()
	return addr, received
}

func TestJoin_SaysWhatIsAtTheAddress(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	plain, plainAddr := listen(t)
	serve(t, plain, http.NotFoundHandler())
	closed, closedAddr := listen(t)
	closed.Close()
	hangUp, hangUpAddr := listen(t)
	go func() {
		for {
			conn, err := hangUp.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	_, silentAddr := listen(t) // the kernel accepts, nobody answers
	stranger, strangerAddr := listen(t)
	serve(t, tls.NewListener(stranger, m.id.ServerTLS()), http.NotFoundHandler())

	for name, tt := range map[string]struct {
		addr netip.AddrPort
		want string
	}{
		"plain HTTP": {plainAddr, "does not speak TLS"},
		"refused":    {closedAddr, "nothing listens there"},
		"hangs up":   {hangUpAddr, "it hung up"},
		"silent":     {silentAddr, "does not answer within 5s"},
		"not ours":   {strangerAddr, "does not answer as a crawlbox manager"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := m.string(t, fleet.RoleWorker)
			s.Managers = []netip.AddrPort{tt.addr}
			_, err := Join(t.Context(), t.TempDir(), s, worker, testLog(t))
			if err == nil || !strings.Contains(err.Error(), tt.want) ||
				!strings.Contains(err.Error(), tt.addr.String()) || strings.Contains(err.Error(), "\n") {
				t.Errorf("message: %v", err)
			}
		})
	}
	t.Run("next manager", func(t *testing.T) {
		t.Parallel()
		s := m.string(t, fleet.RoleWorker)
		s.Managers = []netip.AddrPort{closedAddr, plainAddr, m.addr}
		if _, err := Join(t.Context(), t.TempDir(), s, worker, testLog(t)); err != nil {
			t.Error(err)
		}
		s.Managers = s.Managers[:2]
		_, err := Join(t.Context(), t.TempDir(), s, worker, testLog(t))
		var failed *ManagersError
		if !errors.As(err, &failed) || len(failed.Tries) != 2 {
			t.Errorf("error does not tell of both: %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Join(ctx, t.TempDir(), m.string(t, fleet.RoleWorker), worker,
			testLog(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("after cancel: %v", err)
		}
	})
}

// outOfDate gives a manager a certificate that was, or will be, valid.
func outOfDate(t *testing.T, m *manager, from, until time.Duration) *tls.Certificate {
	t.Helper()
	der, err := m.id.CSR()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.ParseCSR(der)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := m.CA.Issue(csr, pki.Grant{
		Role:    fleet.RoleManager,
		HoldsCA: true,
		Addrs:   []netip.Addr{loopback},
		From:    time.Now().Add(from),
		Until:   time.Now().Add(until),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{
		Certificate: [][]byte{cert.Raw, m.CA.Certificate().Raw},
		PrivateKey:  m.id.Certificate().PrivateKey,
	}
}

func TestJoin_NamesTheSkewOfClocks(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	for name, tt := range map[string]struct {
		cert  *tls.Certificate
		clock time.Duration // of the manager, relative to this machine's
		want  string
	}{
		"behind":      {outOfDate(t, m, 3*time.Hour, 9*time.Hour), 4 * time.Hour, "clock is 4h0m0s behind"},
		"ahead":       {outOfDate(t, m, -50*time.Minute, -10*time.Minute), -4 * time.Hour, "clock is 4h0m0s ahead"},
		"out of date": {outOfDate(t, m, -50*time.Minute, -10*time.Minute), 0, "certificate is out of date"},
	} {
		listener, addr := listen(t)
		var secrets atomic.Int32
		conf := &tls.Config{Certificates: []tls.Certificate{*tt.cert}}
		serve(t, tls.NewListener(listener, conf), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				secrets.Add(1)
			}
			told := time.Now().Add(tt.clock).Add(500 * time.Millisecond).Format(time.RFC3339)
			fmt.Fprintf(w, `{"time":%q}`, told)
		}))
		s := m.string(t, fleet.RoleWorker)
		s.Managers = []netip.AddrPort{addr}
		_, err := Join(t.Context(), t.TempDir(), s, worker, testLog(t))
		if err == nil || !strings.Contains(roundSkew(err.Error()), tt.want) ||
			errors.Is(err, ErrClock) != (tt.clock != 0) {
			t.Errorf("%s: %v", name, err)
		}
		if secrets.Load() > 0 {
			t.Errorf("%s: the secret was sent", name)
		}
	}
}

// roundSkew forgives the seconds that the test itself takes.
func roundSkew(text string) string {
	for _, s := range []string{"3h59m58s", "3h59m59s", "4h0m1s", "4h0m2s"} {
		text = strings.ReplaceAll(text, s, "4h0m0s")
	}
	return text
}

func TestJoin_FiftyAtOnce(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	s := m.string(t, fleet.RoleWorker)
	ids := make([]string, 50)
	var atOnce, later atomic.Int64
	var joins sync.WaitGroup
	for i := range ids {
		dir := t.TempDir()
		joins.Go(func() {
			id, err := Join(t.Context(), dir, s, worker, testLog(t)) // all with one host name
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = id.Node.ID
			switch wait := id.StartDelay; {
			case wait == 0:
				atOnce.Add(1)
			case wait >= minStartDelay && wait < 2*minStartDelay:
				later.Add(1)
			default:
				t.Errorf("a node that joins with many waits %s", wait)
			}
		})
	}
	joins.Wait()
	// While they join, a moment for one more may pass.
	if n := atOnce.Load(); n < joinBurst || later.Load() < 50-2*joinBurst {
		t.Errorf("%d nodes begin at once and %d later", n, later.Load())
	}
	slices.Sort(ids)
	if unique := slices.Compact(ids); len(unique) != 50 {
		t.Errorf("%d different nodes, want 50", len(unique))
	}
}
