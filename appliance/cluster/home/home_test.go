package home

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/configs"
)

var ip, older = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.3")

// machine returns one with a data directory, and a config file where text is not empty.
func machine(t *testing.T, text string) *setup.Machine {
	t.Helper()
	cfg := configs.Default()
	cfg.DataDir = t.TempDir()
	cfg.File = filepath.Join(cfg.DataDir, "etc", "crawlbox.yaml")
	m := &setup.Machine{Config: cfg, Name: "h", Log: slog.New(slog.DiscardHandler), Phase: func(string) {}}
	if text != "" {
		put(t, cfg.File, text)
	}
	return m
}

func put(t *testing.T, path, text string) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// before returns the home, with a queue.
func before(t *testing.T) *setup.Machine {
	t.Helper()
	m := machine(t, "advertise_addr: 10.0.0.1\nlog_level: debug\n")
	m.Config.Queue = &configs.Queue{Port: 7892}
	put(t, filepath.Join(m.Config.QueueDir(), "segment-0000000001"), "items")
	put(t, filepath.Join(m.Config.QueueDir(), "lock"), "")
	put(t, filepath.Join(m.Config.DataDir, passwordName), "hush")
	put(t, filepath.Join(m.Config.DataDir, beforeName), older.String()+"\n")
	if err := setup.Keep(m.Config, "c1", ip); err != nil {
		t.Fatal(err)
	}
	return m
}

// wire is another machine, by what it answers.
type wire struct {
	handlers []agent.Handler
	lost     int    // answers that get lost
	away     bool   // nobody answers
	anew     func() // ends that it begins anew, nil: it does not
}

func (w *wire) Send(_ context.Context, m Move, write func(io.Writer) error) error {
	var body bytes.Buffer
	if err := write(&body); err != nil {
		return err
	}
	return w.ask(http.MethodPut, m, &body)
}

func (w *wire) Take(_ context.Context, m Move) error { return w.ask(http.MethodPost, m, nil) }

func (w *wire) ask(method string, m Move, body io.Reader) error {
	if w.away {
		return errors.New("no answer")
	}
	r := httptest.NewRequest(method, "/v1/home", body)
	r.Header.Set(idHeader, m.ID)
	rec := httptest.NewRecorder()
	for _, h := range w.handlers {
		if strings.HasPrefix(h.Route(), method+" ") {
			h.ServeHTTP(rec, r)
		}
	}
	if w.lost > 0 {
		w.lost--
		return errors.New("the answer is lost")
	}
	switch {
	case rec.Code == http.StatusNoContent:
		return nil
	case rec.Code >= http.StatusInternalServerError && w.anew != nil:
		w.anew()
		w.anew = nil
		return errors.New(rec.Body.String())
	case rec.Code >= http.StatusInternalServerError:
		return errors.New(rec.Body.String())
	}
	return &agent.StatusError{Code: rec.Code, Text: rec.Body.String()}
}

func after(m *setup.Machine) *wire {
	cluster := func(context.Context) (string, error) { return "c1", nil }
	audit := func(string, ...slog.Attr) {}
	w := &wire{}
	var begin func()
	begin = func() {
		again := func() { w.anew = begin }
		w.handlers = Answer(m.Config, netip.MustParseAddr("10.0.0.2"), cluster, again, audit)
	}
	begin()
	return w
}

func none() error { return nil }

var errKilled = errors.New("killed")

// TestMove_Killed kills the home after each step, and loses an answer: the move goes on, and the queue is at one
// place at the end.
func TestMove_Killed(t *testing.T) {
	t.Parallel()
	for at := range 7 {
		m, to := before(t), machine(t, "")
		w := after(to)
		w.lost = at % 2
		begun := New("h2", netip.MustParseAddr("10.0.0.2"))
		begun.Own, begun.Node, begun.Promoted = "n1", "n2", true
		if err := begun.Save(m.Config.DataDir); err != nil {
			t.Fatal(err)
		}
		steps := 0
		for {
			move, err := Load(m.Config.DataDir)
			if err != nil {
				t.Fatal(err)
			}
			if move == nil {
				break
			}
			func() {
				defer func() {
					r := recover()
					if err, _ := r.(error); r != nil && !errors.Is(err, errKilled) {
						panic(r)
					}
				}()
				err = run(t.Context(), m, *move, w, none, func() {
					if steps++; steps == at {
						panic(errKilled)
					}
				})
			}()
			if err != nil {
				t.Fatal(err)
			}
		}
		if setup.StateOf(m.Config) == setup.Created || setup.StateOf(to.Config) != setup.Created {
			t.Errorf("killed at %d: the home is %v, %v", at, setup.StateOf(m.Config), setup.StateOf(to.Config))
		}
		moved, err := Moved(m.Config.DataDir)
		if err != nil || moved == nil || moved.Name != "h2" {
			t.Errorf("killed at %d: moved to %+v, %v", at, moved, err)
		}
		if _, err := os.Stat(m.Config.QueueDir()); err == nil {
			t.Errorf("killed at %d: the queue is here too", at)
		}
		up := w.anew == nil
		if first, then := w.Take(t.Context(), begun), w.Take(t.Context(), begun); (first == nil) != up || then != nil {
			t.Errorf("killed at %d: the new home, which was up: %t, says %v, then %v", at, up, first, then)
		}
		if got := get(t, filepath.Join(to.Config.DataDir, "queue", "segment-0000000001")); got != "items" {
			t.Errorf("killed at %d: the queue has %q", at, got)
		}
		if got := Before(to.Config.DataDir); !slices.Equal(got, []netip.Addr{ip, older}) {
			t.Errorf("killed at %d: the homes before are %v", at, got)
		}
		if got := get(t, filepath.Join(to.Config.DataDir, passwordName)); got != "hush" {
			t.Errorf("killed at %d: the password is %q", at, got)
		}
		demotes(t, m, "n1")
		want := "#advertise_addr: 10.0.0.1\nlog_level: debug\nqueue:\n  port: 7892\n  tls: false\n"
		if got := get(t, to.Config.File); got != want {
			t.Errorf("killed at %d: the config is %q", at, got)
		}
	}
}

// demotes wants a machine to have a manager be a worker after a move, though Swarm fails at first, and once only.
func demotes(t *testing.T, m *setup.Machine, id string) {
	t.Helper()
	if left, err := Demotes(m.Config.DataDir); err != nil || left != (id != "") {
		t.Errorf("somebody is to be demoted: %t, %v", left, err)
	}
	var asked []string
	setRole := func(_ context.Context, id, role string) error {
		if asked = append(asked, id+" "+role); len(asked) == 1 {
			return errors.New("no leader")
		}
		return nil
	}
	serves := func(context.Context) error {
		if asked != nil {
			t.Error("the home is waited for after somebody was demoted")
		}
		return errors.New("it has not come up")
	}
	for range 2 {
		demote(t.Context(), m.Config.DataDir, serves, setRole, m.Log)
	}
	if id != "" && !slices.Equal(asked, []string{id + " worker", id + " worker"}) || id == "" && asked != nil {
		t.Errorf("Swarm was asked for %q", asked)
	}
	if left, err := Demotes(m.Config.DataDir); err != nil || left {
		t.Errorf("somebody is to be demoted still: %t, %v", left, err)
	}
}

// TestForgetCluster has a machine that leaves know nothing of moves, so that in another cluster it passes nobody on to
// where the queue of this one went. The queue stays.
func TestForgetCluster(t *testing.T) {
	t.Parallel()
	m := before(t)
	for _, name := range []string{moveFile, movedFile, takenFile, demoteFile, staging + "/id", beforeName} {
		put(t, filepath.Join(m.Config.DataDir, name), "{}")
	}
	if err := setup.ForgetCluster(m.Config); err != nil {
		t.Fatal(err)
	}
	var left []string
	files, err := os.ReadDir(m.Config.DataDir)
	for _, f := range files {
		left = append(left, f.Name())
	}
	if err != nil || !slices.Equal(left, []string{"cluster.json", "etc", "queue", passwordName}) {
		t.Errorf("left are %q, %v", left, err)
	}
}

// TestMove_Refused leaves all where it is: the other has a config of its own, or is dead, or is the home itself.
func TestMove_Refused(t *testing.T) {
	t.Parallel()
	stays := func(what string, promoted bool, m *setup.Machine, w *wire) {
		t.Helper()
		move := New("h2", ip)
		move.Own, move.Node, move.Promoted = "n1", "n2", promoted
		if err := move.Save(m.Config.DataDir); err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), m, move, w, none, func() {}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		left, err := Load(m.Config.DataDir)
		if err != nil || left != nil || setup.StateOf(m.Config) != setup.Created {
			t.Errorf("%s: left is %+v, %v; the home is %v", what, left, err, setup.StateOf(m.Config))
		}
		if got := get(t, filepath.Join(m.Config.QueueDir(), "segment-0000000001")); got != "items" {
			t.Errorf("%s: the queue has %q", what, got)
		}
		demotes(t, m, map[bool]string{true: "n2"}[promoted])
	}
	other := machine(t, "log_level: warn\n")
	stays("a config of its own", true, before(t), after(other))
	if setup.StateOf(other.Config) == setup.Created || get(t, other.Config.File) != "log_level: warn\n" {
		t.Error("the other was changed")
	}
	stays("the home itself", false, before(t), after(before(t)))

	// Who asks to take what was never sent, and who sends what is nothing of the queue's.
	w := after(machine(t, ""))
	if err := w.Take(t.Context(), New("h", ip)); err == nil || !strings.Contains(err.Error(), "nothing was sent") {
		t.Errorf("of nothing: %v", err)
	}
	if err := w.ask(http.MethodPut, Move{}, nil); err == nil {
		t.Error("a move without a name was taken")
	}
	for _, name := range []string{"../evil", "queue/../evil", "queue/lock", "other"} {
		err := w.Send(t.Context(), New("h", ip), func(out io.Writer) error { return evil(out, name) })
		if err == nil || !strings.Contains(err.Error(), "nothing that is moved") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func evil(w io.Writer, name string) error {
	out := tar.NewWriter(w)
	return errors.Join(add(out, name, []byte("x")), out.Close())
}

// TestPass carries what both ends say, and ends with either.
func TestPass(t *testing.T) {
	t.Parallel()
	queue, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer queue.Close()
	go func() {
		conn, err := queue.Accept()
		if err != nil {
			return
		}
		_, _ = io.CopyN(conn, conn, 4)
		conn.Close()
	}()
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); accept(ctx, door, queue.Addr().String()) }()
	conn, err := net.Dial("tcp", door.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("PING")); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(conn); string(said) != "PING" || err != nil {
		t.Errorf("it says %q, %v", said, err)
	}
	cancel()
	<-ended
}

// TestOther_Answers takes none but a manager's own refusal for one: whoever has no such call yet, as a node that
// starts, may be the home for all that.
func TestOther_Answers(t *testing.T) {
	t.Parallel()
	status := http.StatusConflict
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
	}))
	defer srv.Close()
	to := other{agent.Target{Client: srv.Client(), Addr: netip.MustParseAddrPort(srv.Listener.Addr().String())}}
	for status = range map[int]bool{409: true, 403: true, 404: true, 405: true, 200: true, 500: true, 204: true} {
		err := to.Take(t.Context(), New("h2", to.Addr.Addr()))
		refused := errors.As(err, new(*agent.StatusError))
		if (err == nil) != (status == http.StatusNoContent) || refused != (status == http.StatusConflict) {
			t.Errorf("%d: %v, refused: %t", status, err, refused)
		}
	}
}
