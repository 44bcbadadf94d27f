package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// engineOf returns an engine whose API is h, but for what any client asks first.
func engineOf(t *testing.T, h http.HandlerFunc) *Engine {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			w.Header().Set("Api-Version", "1.41")
			return
		}
		h(w, r)
	}), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
	e, err := Open("unix://" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// says answers as the engine does.
func says(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"message":%q}`, text)
}

// What Docker, Swarm or an operator is at already is no failure, and one container that can't be
// removed does not keep the others.
func TestRemoveTasks_Conflicts(t *testing.T) {
	t.Parallel()
	var busy atomic.Int32
	removed := map[string]bool{}
	e := engineOf(t, func(w http.ResponseWriter, r *http.Request) {
		_, id, _ := strings.Cut(r.URL.Path, "/containers/")
		switch {
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `[{"Id":"busy%[1]s"},{"Id":"held%[1]s"},{"Id":"gone%[1]s"},{"Id":"plain%[1]s"}]`,
				strings.Repeat("0", 60))
		case strings.HasPrefix(id, "busy") && busy.Add(1) < 3:
			says(w, http.StatusConflict, "removal of container "+id+" is already in progress")
		case strings.HasPrefix(id, "busy") && busy.Load() == 3:
			says(w, http.StatusInternalServerError, "container "+id+": unlinkat x: device or resource busy")
		case strings.HasPrefix(id, "held"):
			says(w, http.StatusInternalServerError, "the disk is broken")
		case strings.HasPrefix(id, "gone"):
			says(w, http.StatusNotFound, "No such container: "+id)
		default:
			removed[id[:4]] = true
			w.WriteHeader(http.StatusNoContent)
		}
	})
	err := e.RemoveTasks(t.Context())
	if err == nil || strings.Count(err.Error(), "stays") != 1 ||
		!strings.Contains(err.Error(), "container held00000000 stays (`docker rm --force held00000000` removes it): "+
			"the disk is broken") {
		t.Errorf("got %v", err)
	}
	if !removed["busy"] || !removed["plai"] {
		t.Errorf("removed are %v", removed)
	}
}

func TestKillTasks_Conflicts(t *testing.T) {
	t.Parallel()
	const label = `"Labels":{"com.docker.swarm.task.id":"t"}`
	for text, tc := range map[string]struct {
		status int
		want   string
	}{
		"Container x is not running": {http.StatusConflict, ""},
		"No such container: x":       {http.StatusNotFound, ""},
		"the disk is broken":         {http.StatusInternalServerError, "the disk is broken"},
	} {
		e := engineOf(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `[{"Id":"x",%s}]`, label)
				return
			}
			says(w, tc.status, text)
		})
		got := ""
		if err := e.KillTasks(t.Context(), []string{"t"}); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("%s: got %q", text, got)
		}
	}
}

// One who waits for what never ends is told so.
func TestInsist_Bounded(t *testing.T) {
	t.Parallel()
	busy := errors.New("removal of container x is already in progress")
	e := engineOf(t, func(w http.ResponseWriter, _ *http.Request) { says(w, http.StatusConflict, busy.Error()) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := e.RemoveImage(ctx, "x"); err == nil || !strings.Contains(err.Error(), "already in progress") {
		t.Errorf("got %v", err)
	}
}

// TestLeave_Slow: Docker gives up after 15 s, and is asked again until it has left.
func TestLeave_Slow(t *testing.T) {
	t.Parallel()
	asked := 0
	e := engineOf(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 3 {
			says(w, http.StatusInternalServerError, "context deadline exceeded")
		}
	})
	if err := e.Leave(t.Context(), true); err != nil || asked != 3 {
		t.Errorf("got %v, asked %d times", err, asked)
	}
}

// What Docker says of a full disk ends with what to do.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	e := engineOf(t, func(w http.ResponseWriter, _ *http.Request) {
		says(w, http.StatusInternalServerError, "mkdir /var/lib/docker/overlay2/x: no space left on device")
	})
	err := e.Start(t.Context(), "s", 1, nil)
	if err == nil || !strings.Contains(err.Error(), "make room on it, `docker ") {
		t.Errorf("got %v", err)
	}
}

// TestRegister_Leaderless: a swarm without a leader has Docker wait, and the user hear why.
func TestRegister_Leaderless(t *testing.T) {
	t.Parallel()
	e := engineOf(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := e.Register("x").Load(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "Swarm does not answer in time") {
		t.Errorf("it is %v", err)
	}
}

// TestExplain_Hangs: an engine that is up and does not answer is named, and not what was asked of it.
func TestExplain_Hangs(t *testing.T) {
	t.Parallel()
	e := engineOf(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := e.Info(ctx)
	if want := "the Docker Engine at " + e.Host() + " does not answer"; !errors.Is(err, context.DeadlineExceeded) ||
		err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
