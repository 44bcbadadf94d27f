package setup

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// world is Docker on a manager, and the other managers. It notes what they are asked to change.
type world struct {
	mu     sync.Mutex
	worker bool // Docker no longer manages
	left   bool
	asked  []string
}

func (w *world) note(what string) { w.asked = append(w.asked, what) }

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var answer any
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/_ping"):
		rw.Header().Set("Api-Version", "1.41")
	case strings.HasSuffix(path, "/info") && w.left:
		answer = map[string]any{"Swarm": map[string]any{"LocalNodeState": "inactive"}}
	case strings.HasSuffix(path, "/info"):
		answer = map[string]any{"Swarm": map[string]any{
			"LocalNodeState": "active", "NodeID": "n1", "ControlAvailable": !w.worker,
		}}
	case strings.HasSuffix(path, "/nodes/n1"):
		answer = map[string]any{"ID": "n1", "Spec": map[string]any{"Role": "manager"}}
	case strings.HasSuffix(path, "/nodes/n1/update"):
		body, _ := io.ReadAll(r.Body)
		w.worker = strings.Contains(string(body), `"worker"`)
		w.note("demote")
	case strings.HasSuffix(path, "/swarm/leave"):
		w.left = true
		w.note("leave")
	default:
		rw.WriteHeader(http.StatusNotFound)
	}
	if answer != nil {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(answer)
	}
}

// RoundTrip answers as the other managers do.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Body == nil { // it is asked whether somebody is there
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	}
	body, err := io.ReadAll(r.Body)
	w.note(r.URL.Host + " " + string(body))
	return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody, Request: r}, err
}

// TestLeave_Home has the manager leave that created the cluster: it ends only with its last manager.
func TestLeave_Home(t *testing.T) {
	t.Parallel()
	own, other := netip.AddrPortFrom(ownIP, 7890), netip.AddrPortFrom(nextIP, 7890)
	goodbye := other.String() + ` {"node":"n1"}`
	for name, tc := range map[string]struct {
		managers []netip.AddrPort
		left     bool // Docker has left its swarm
		force    bool
		asked    []string
		err      string // part of it; empty: none
	}{
		"last":           {[]netip.AddrPort{own}, false, false, nil, "ends the cluster"},
		"last, forced":   {[]netip.AddrPort{own}, false, true, []string{"leave"}, ""},
		"others":         {[]netip.AddrPort{own, other}, false, false, nil, "crawlbox move NODE"},
		"others, forced": {[]netip.AddrPort{own, other}, false, true, []string{"demote", "leave", goodbye}, ""},
		"stood down":     {[]netip.AddrPort{own, other}, true, true, []string{"leave"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{left: tc.left}
			m := homeIn(t, w)
			var targets []agent.Target
			for _, addr := range tc.managers {
				targets = append(targets, agent.Target{Client: &http.Client{Transport: w}, Addr: addr})
			}
			err := m.Leave(t.Context(), &pki.Identity{Self: pki.Self{Addr: ownIP}}, targets, "h2", tc.force)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("got %v, want %q", err, tc.err)
			}
			if !slices.Equal(w.asked, tc.asked) {
				t.Errorf("asked %q, want %q", w.asked, tc.asked)
			}
			if is := StateOf(m.Config); (is == None) != (tc.err == "") {
				t.Errorf("this machine is %v", is)
			}
		})
	}
}

// homeIn returns a machine that created its cluster.
func homeIn(t *testing.T, w *world) *Machine {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "docker.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: w, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
	engine, err := swarm.Open("unix://" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	cfg := configs.Config{DataDir: t.TempDir()}
	m := &Machine{Config: cfg, Name: "h1", Engine: engine, Log: slog.New(slog.DiscardHandler)}
	if err := errors.Join(os.MkdirAll(NodeDir(cfg), 0o700), Keep(cfg, "c1", ownIP)); err != nil {
		t.Fatal(err)
	}
	return m
}
