package reach

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// ask asks as a node at 127.0.0.2.
func ask(h agent.Handler, body string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/v1/reach", strings.NewReader(body))
	r.RemoteAddr = "127.0.0.2:4711"
	h.ServeHTTP(rec, r)
	return rec
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	h := Answer(netip.MustParseAddr("127.0.0.1"), slog.New(slog.DiscardHandler))
	question, err := json.Marshal(request{[]uint16{port}})
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	_ = json.Unmarshal(ask(h, string(question)).Body.Bytes(), &a)
	if len(a.Tries) != 1 || a.Tries[0].Error != "" || a.Seen != netip.MustParseAddr("127.0.0.2") || a.Time.IsZero() {
		t.Errorf("got %+v", a)
	}
	// It does not scan.
	for _, body := range []string{"", "nonsense", `{"ports":[1,2,3,4,5,6,7,8,9]}`} {
		if rec := ask(h, body); rec.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", body, rec.Code)
		}
	}
}

func TestAnswer_InALoop(t *testing.T) {
	t.Parallel()
	h := Answer(netip.MustParseAddr("127.0.0.1"), slog.New(slog.DiscardHandler))
	codes := map[int]int{}
	for range 5 * burst {
		codes[ask(h, `{"ports":[]}`).Code]++
	}
	if codes[http.StatusOK] > burst+1 || codes[http.StatusTooManyRequests] == 0 {
		t.Errorf("answers: %v", codes)
	}
}

// TestAsk_Refused wants a node to say why another does not try its ports: by what that
// answers, and not by its status alone.
func TestAsk_Refused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status  int
		answer  string
		want    string
		removed bool
	}{
		"an older version": {http.StatusNotFound, "404 page not found", "of another version", false},
		"removed": {
			http.StatusForbidden, `{"code":"removed","time":"2026-01-01T00:00:00Z"}`, "was removed from the cluster", true,
		},
		"too often": {
			http.StatusTooManyRequests, "it was asked too often", "429 Too Many Requests: it was asked", false,
		},
		"for some reason": {http.StatusForbidden, "", "it answers 403 Forbidden", false},
	} {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tc.status)
			_, _ = io.WriteString(w, tc.answer)
		}))
		addr := s.Listener.Addr().(*net.TCPAddr).AddrPort()
		n := doctor.Neighbour{Addr: addr.Addr()}
		err := Prober{Client: s.Client(), Port: addr.Port()}.ask(t.Context(), &n, nil)
		s.Close()
		if err == nil || !strings.Contains(err.Error(), tc.want) || n.Removed != tc.removed {
			t.Errorf("%s: got %v, removed %v", name, err, n.Removed)
		}
		if other := strings.Contains(fmt.Sprint(err), "another version"); other != (tc.status == http.StatusNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNeighbours: managers come first, also those that gossip has lost, and what
// gossip names where no node is, is not tried.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	member := func(addr, role string, state gossip.State) gossip.Member {
		n := gossip.Node{ID: addr, Name: "h" + addr, Role: role, Addr: netip.MustParseAddr(addr)}
		return gossip.Member{Node: n, State: state}
	}
	members := []gossip.Member{
		member("10.0.0.9", fleet.RoleWorker, gossip.Alive), // itself
		member("10.0.0.3", fleet.RoleWorker, gossip.Alive),
		member("10.0.0.1", fleet.RoleManager, gossip.Alive),
		member("10.0.0.4", fleet.RoleWorker, gossip.Left),
		member("169.254.169.254", fleet.RoleWorker, gossip.Alive),
	}
	p := Prober{
		Self:    netip.MustParseAddr("10.0.0.9"),
		Port:    7980,
		Members: func() []gossip.Member { return members },
		At:      func(to netip.AddrPort) bool { return to.Addr().As4()[0] == 10 && to.Port() == 7980 },
		Managers: func() []netip.AddrPort {
			return []netip.AddrPort{
				netip.MustParseAddrPort("10.0.0.2:7980"),
				netip.MustParseAddrPort("10.0.0.1:7980"),
				netip.MustParseAddrPort("10.0.0.9:7980"),
			}
		},
	}
	list := p.neighbours()
	var names []string
	for _, n := range list {
		names = append(names, n.Name)
	}
	if want := []string{"10.0.0.2", "h10.0.0.1", "h10.0.0.3"}; !slices.Equal(names, want) {
		t.Errorf("tried are %q, want %q", names, want)
	}
	for i := range 2 * maxNeighbours {
		members = append(members, member(fmt.Sprintf("10.0.1.%d", i), fleet.RoleWorker, gossip.Alive))
	}
	if list := p.neighbours(); len(list) != maxNeighbours {
		t.Errorf("%d nodes are tried, want %d", len(list), maxNeighbours)
	}
}

// TestProbe: the port of the queue is tried of no other manager, since its home alone has it.
func TestProbe(t *testing.T) {
	t.Parallel()
	asked := make(chan bool, 1)
	p := Prober{
		Client:   &http.Client{Transport: &http.Transport{}},
		Self:     netip.MustParseAddr("127.0.0.2"),
		Port:     1,
		Members:  func() []gossip.Member { return nil },
		At:       func(netip.AddrPort) bool { return true },
		Managers: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")} },
		Ports: func(_ string, first bool) []uint16 {
			asked <- first
			return nil
		},
	}
	if list := p.Probe(t.Context(), nil); len(list) != 1 || <-asked {
		t.Errorf("tried are %+v, with the port of the queue", list)
	}
}
