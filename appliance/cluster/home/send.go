package home

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// giveUp is how long the other may not answer before a move is undone, and retry the pause between tries.
	giveUp = 30 * time.Second
	retry  = time.Second
	// watchEvery is how often a node looks whether its home is to be moved.
	watchEvery = time.Second
	// sayEvery is how often it is said how much was sent.
	sayEvery = 5 * time.Second
)

// Other is the machine that is to be the home.
type Other interface {
	// Send brings it what write writes. The error is an *agent.StatusError where it refuses that.
	Send(ctx context.Context, m Move, write func(io.Writer) error) error
	// Take has it be the home. Asked again, it says the same. The error is as that of Send.
	Take(ctx context.Context, m Move) error
}

// Begin does what was decided on for a machine, before it is a node; where nothing was, it does nothing. Then
// it calls back once something is decided on while the node runs, until ctx ends: it is to begin anew. Until
// then a machine that was the home passes connections on.
func Begin(ctx context.Context, m *setup.Machine, again func()) error {
	move, err := Load(m.Config.DataDir)
	if err == nil && move != nil {
		err = begin(ctx, m, *move)
	}
	if err == nil {
		go watch(ctx, m.Config.DataDir, again)
		go relay(ctx, m.Config, m.Log)
		go demote(ctx, m.Config.DataDir, serves(m), m.Engine.SetRole, m.Log)
	}
	return err
}

func watch(ctx context.Context, dataDir string, again func()) {
	for clock.Sleep(ctx, watchEvery) == nil {
		if _, err := os.Stat(filepath.Join(dataDir, moveFile)); err == nil {
			again()
			return
		}
	}
}

func begin(ctx context.Context, m *setup.Machine, move Move) error {
	to, id, err := reach(m, move)
	if err != nil {
		return fmt.Errorf("move the queue: %w", err)
	}
	defer to.Client.CloseIdleConnections()
	return run(ctx, m, move, to, func() error { return joined(m, id, to.Addr) }, func() {})
}

// reach returns the other machine of a move, and who this one is for it.
func reach(m *setup.Machine, move Move) (other, *pki.Identity, error) {
	id, err := setup.JoinedAs(m.Config)
	if err != nil {
		return other{}, nil, err
	}
	to := netip.AddrPortFrom(move.Addr, m.Config.Node.Port)
	client := agent.NewClient(func(at netip.AddrPort) bool { return at == to }, id, fleet.RoleManager)
	return other{agent.Target{Client: client, Addr: to, Fresh: true}}, id, nil
}

// serves returns what waits until the machine that the home of this one went to is up as the home.
func serves(m *setup.Machine) func(context.Context) error {
	return func(ctx context.Context) error {
		moved, err := Moved(m.Config.DataDir)
		if err != nil || moved == nil {
			return err
		}
		to, _, err := reach(m, *moved)
		if err != nil {
			return err
		}
		defer to.Client.CloseIdleConnections()
		return insist(ctx, func() error { return to.Take(ctx, *moved) })
	}
}

// joined makes this machine one that has joined the cluster, by a manager at an address.
func joined(m *setup.Machine, id *pki.Identity, by netip.AddrPort) error {
	knows := id.Membership()
	others := slices.DeleteFunc(slices.Clone(knows.Managers), func(a netip.AddrPort) bool { return a == by })
	knows.Managers = append([]netip.AddrPort{by}, others...)
	if err := id.Adopt(knows); err != nil {
		return err
	}
	journal, err := enroll.OpenJournal(setup.NodeDir(m.Config), id.CA())
	if err != nil {
		return err
	}
	for _, phase := range []enroll.Phase{
		enroll.PhaseStarted, enroll.PhaseCertified, enroll.PhaseSwarmJoined, enroll.PhaseDone,
	} {
		if err := journal.Do(phase, nil); err != nil {
			return err
		}
	}
	return nil
}

// run moves what there is, and calls rejoin before this machine is no home. It calls step after each step, for
// tests.
func run(ctx context.Context, m *setup.Machine, move Move, to Other, rejoin func() error, step func()) error {
	m.Phase("moving the queue to " + move.Name)
	if !move.Asked {
		err := insist(ctx, func() error {
			return to.Send(ctx, move, func(w io.Writer) error {
				return write(&aloud{Writer: w, say: m.Phase, to: move.Name, last: time.Now()}, m.Config)
			})
		})
		if err != nil {
			return undo(ctx, m, move, err)
		}
		step()
		move.Asked = true
		if err := move.Save(m.Config.DataDir); err != nil {
			return err
		}
		step()
	}
	for !move.Taken {
		err := to.Take(ctx, move)
		if err == nil {
			break
		}
		if errors.As(err, new(*agent.StatusError)) {
			return undo(ctx, m, move, err)
		}
		m.Phase(fmt.Sprintf("waiting for %s to say whether it has the queue: %s", move.Name, err))
		m.Log.Debug("failed to ask for the queue", "node", move.Name, "error", err)
		if err := clock.Sleep(ctx, retry); err != nil {
			return err
		}
	}
	step()
	if err := rejoin(); err != nil {
		return err
	}
	return release(m, move, step)
}

// aloud is a writer that says from time to time how much went to the other: the start waits for it.
type aloud struct {
	io.Writer
	say  func(string)
	to   string
	sent int64
	last time.Time // that it was said
}

func (a *aloud) Write(p []byte) (int, error) {
	n, err := a.Writer.Write(p)
	if a.sent += int64(n); time.Since(a.last) > sayEvery {
		a.last = time.Now()
		a.say(fmt.Sprintf("moving the queue to %s: %d MB sent", a.to, a.sent/1e6))
	}
	return n, err
}

// insist calls do until it succeeds, is refused, or has failed for too long.
func insist(ctx context.Context, do func() error) error {
	for begun := time.Now(); ; {
		err := do()
		if err == nil || errors.As(err, new(*agent.StatusError)) || time.Since(begun) > giveUp {
			return err
		}
		if err := clock.Sleep(ctx, retry); err != nil {
			return err
		}
	}
}

// undo has the home stay here, unless this node ends.
func undo(ctx context.Context, m *setup.Machine, move Move, why error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m.Log.Error(fmt.Sprintf("the queue was not moved to %s and stays here: %s", move.Name, why))
	if move.Promoted {
		if err := demoteLater(m.Config.DataDir, move.Node); err != nil {
			return err
		}
	}
	return durable.Remove(filepath.Join(m.Config.DataDir, moveFile))
}

// release has this machine be no home.
func release(m *setup.Machine, move Move, step func()) error {
	dir := m.Config.DataDir
	if queue := m.Config.QueueDir(); m.Config.Queue != nil && isThere(queue) {
		if err := errors.Join(os.RemoveAll(queue+".moved"), os.Rename(queue, queue+".moved")); err != nil {
			return fmt.Errorf("put the queue's files aside: %w", err)
		}
	}
	step()
	if err := move.save(dir, movedFile); err != nil {
		return err
	}
	if err := durable.Remove(setup.RecordPath(m.Config)); err != nil {
		return err
	}
	step()
	if err := demoteLater(dir, move.Own); err != nil {
		return err
	}
	m.Log.Info("the queue is moved", "to", move.Name)
	return durable.Remove(filepath.Join(dir, moveFile))
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Names of what is sent, beside the files of the queue's journal.
const (
	configName   = "config"
	passwordName = "queue.password"
	dirName      = "queue.dir" // where the config has the queue's files; empty: at the usual place
	beforeName   = "queue.before"
	queuePrefix  = "queue/"
)

var advertised = regexp.MustCompile(`(?m)^advertise_addr:`)

// Small returns what the home has beside the queue's journal, by the names under which it is sent.
func Small(cfg configs.Config) (map[string][]byte, error) {
	text, err := config(cfg)
	if err != nil {
		return nil, err
	}
	small := map[string][]byte{configName: text}
	password, err := os.ReadFile(filepath.Join(cfg.DataDir, passwordName))
	switch {
	case err == nil:
		small[passwordName] = password
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if n := Number(cfg.DataDir); n > 0 {
		small[numberName] = []byte(strconv.Itoa(n))
	}
	if cfg.Queue != nil {
		small[dirName] = []byte(cfg.Queue.DataDir)
		small[beforeName], err = known(cfg)
	}
	return small, err
}

// write writes what the home has. The queue does not run.
func write(w io.Writer, cfg configs.Config) error {
	out := tar.NewWriter(w)
	small, err := Small(cfg)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(small)) {
		if err := add(out, name, small[name]); err != nil {
			return err
		}
	}
	if cfg.Queue == nil {
		return out.Close()
	}
	files, err := os.ReadDir(cfg.QueueDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if f.Type().IsRegular() && isJournal(f.Name()) {
			if err := addFile(out, queuePrefix+f.Name(), filepath.Join(cfg.QueueDir(), f.Name())); err != nil {
				return err
			}
		}
	}
	return out.Close()
}

// config returns the config file as it is to be on another machine. What turns the queue on may stand on the
// command line here.
func config(cfg configs.Config) ([]byte, error) {
	text, err := os.ReadFile(cfg.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	text = advertised.ReplaceAll(text, []byte("#$0"))
	if q := cfg.Queue; q != nil && !regexp.MustCompile(`(?m)^queue\b`).Match(text) {
		text = fmt.Appendf(text, "queue:\n  port: %d\n  tls: %t\n", q.Port, q.TLS)
		switch q.Engine {
		case configs.EngineURL:
			text = fmt.Appendf(text, "  engine: url\n  url: %q\n  url_file: %q\n", q.URL, q.URLFile)
			text = fmt.Appendf(text, "  url_ca: %q\n", q.URLCA)
		case configs.EngineValkey:
			text = fmt.Appendf(text, "  engine: valkey\n  image: %q\n  engine_port: %d\n", q.Image, q.EnginePort)
		}
	}
	return text, nil
}

// isJournal reports whether a file is one of the queue's journal.
func isJournal(name string) bool { return journalName.MatchString(name) }

var journalName = regexp.MustCompile(`^(segment|snapshot)-[0-9A-Za-z.-]{1,64}$`)

func add(out *tar.Writer, name string, data []byte) error {
	err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data))})
	if err == nil {
		_, err = out.Write(data)
	}
	return err
}

func addFile(out *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size()})
	}
	if err == nil {
		_, err = io.Copy(out, f)
	}
	return err
}

// other is one over the port between nodes.
type other struct{ agent.Target }

func (o other) Send(ctx context.Context, m Move, write func(io.Writer) error) error {
	body, in := io.Pipe()
	go func() { in.CloseWithError(write(in)) }()
	return o.ask(ctx, http.MethodPut, m, body)
}

func (o other) Take(ctx context.Context, m Move) error {
	return o.ask(ctx, http.MethodPost, m, http.NoBody)
}

func (o other) ask(ctx context.Context, method string, m Move, body io.ReadCloser) error {
	defer body.Close()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+o.Addr.String()+"/v1/home", body)
	if err != nil {
		return err
	}
	req.Header.Set(idHeader, m.ID)
	resp, err := o.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := bound.ReadAll(resp.Body, 1<<10)
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return nil
	case resp.StatusCode != http.StatusConflict || err != nil:
		// Who is yet to start knows nothing of moves, and may be the home for all that.
		return fmt.Errorf("it answers %s: %s", resp.Status, said)
	}
	return &agent.StatusError{Code: resp.StatusCode, Text: string(said)}
}
