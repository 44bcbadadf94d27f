package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/audit"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/join"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// endless is what a node sends that wants the manager's memory.
type endless struct{ sent atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	e.sent.Add(int64(len(p)))
	return len(p), nil
}

func TestReadStage_Endless(t *testing.T) {
	t.Parallel()
	var e endless
	err := readStage(&e, func(swarm.Pulled) { t.Error("it said something") })
	if !errors.Is(err, bound.ErrTooLong) || e.sent.Load() > 4*maxStageLine {
		t.Errorf("%d bytes were read: %v", e.sent.Load(), err)
	}
	long, err := json.Marshal(stageAnswer{Error: strings.Repeat("x", maxStageLine/2)})
	if err != nil {
		t.Fatal(err)
	}
	if err := readStage(strings.NewReader(string(long)), func(swarm.Pulled) {}); err == nil || len(err.Error()) > 1<<10 {
		t.Errorf("an error of %d bytes is passed on", len(fmt.Sprint(err)))
	}
}

func TestReach_InALoop(t *testing.T) {
	t.Parallel()
	g := &ground{reached: newReached(), cfg: configs.Default(), addr: netip.MustParseAddr("127.0.0.1"), log: slog.New(slog.DiscardHandler)}
	codes := map[int]int{}
	for range 5 * reachBurst {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, pathReach, strings.NewReader(`{"ports":[]}`))
		r.RemoteAddr = "127.0.0.2:4711"
		g.answerReach(rec, r)
		codes[rec.Code]++
	}
	if codes[http.StatusOK] > reachBurst+1 || codes[http.StatusTooManyRequests] == 0 {
		t.Errorf("answers: %v", codes)
	}
}

// TestAudit_JoinFlood: garbage that a stranger sends to a manager's port fills neither
// the audit log nor the other one.
func TestAudit_JoinFlood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	trail, err := audit.Open(filepath.Join(dir, "audit.log"), log)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := join.LoadOrCreateCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := join.Options{CA: ca, Swarm: noSwarm{}, Changed: func(join.Membership) {}, Audit: trail.Record, Log: slog.New(slog.DiscardHandler),
		Seeds: func() []netip.AddrPort { return nil }, Managers: func() []netip.AddrPort { return nil }}
	var errs [4]error
	o.Tokens, errs[0] = join.OpenTokens(dir)
	o.Members, errs[1] = join.OpenMembers(dir)
	o.Keys, errs[2] = join.OpenKeys(filepath.Join(dir, "gossip.json"))
	o.Identity, errs[3] = join.ManagerIdentity(filepath.Join(dir, "node"), ca, join.Self{Name: "h1", Addr: netip.MustParseAddr("10.0.0.1")}, join.Membership{})
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	server, err := join.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	const times = 5000
	port := nodePort(o.Identity, server.Handlers())
	bootstrap := server.RequireToken(func(http.ResponseWriter, *http.Request, string) { t.Error("let in") }, refuseBootstrap)
	for n := range times {
		r := httptest.NewRequest(http.MethodPost, "/v1/join", strings.NewReader(`{"version":1,"token":"`+strings.Repeat("t", 9000)+`"}`))
		r.RemoteAddr = fmt.Sprintf("192.0.2.1:%d", 1024+n)
		port.ServeHTTP(httptest.NewRecorder(), r)
		r = httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = fmt.Sprintf("192.0.2.1:%d", 1024+n)
		r.Header.Set("Authorization", "Bearer CBX1-"+strings.Repeat("a", 1000))
		bootstrap.ServeHTTP(httptest.NewRecorder(), r)
	}
	if err := trail.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"audit log": string(text), "log": said.String()} {
		if lines := strings.Count(text, "\n"); lines == 0 || lines > 100 || len(text) > 50<<10 {
			t.Errorf("%d requests made %d lines of the %s, %d bytes", 2*times, lines, name, len(text))
		}
	}
	if !strings.Contains(string(text), `"repeated":`+fmt.Sprint(times-30)) {
		t.Errorf("the others are not counted: %s", text)
	}
}

// TestProof_Once: of a connection it is found out once who has it, also that it is not
// Docker; an error leaves that open.
func TestProof_Once(t *testing.T) {
	t.Parallel()
	for _, docker := range []bool{true, false} {
		p, asked := new(proof), 0
		if _, err := p.of(func() (bool, error) { asked++; return docker, errors.New("Docker is away") }); err == nil {
			t.Error("no error")
		}
		for range 100 {
			got, err := p.of(func() (bool, error) { asked++; return docker, nil })
			if got != docker || err != nil {
				t.Errorf("%v, %v", got, err)
			}
		}
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
	}
}
