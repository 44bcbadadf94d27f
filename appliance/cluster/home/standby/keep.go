package standby

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	directory = "queue.copy" // in the data directory; a directory in it for each run
	copyFile  = "copy.json"  // which run counts
	// sayAgain is how old the time of a copy on disk may be to which nothing came.
	sayAgain = 30 * time.Second
)

// Copy is one of the queue that a manager has.
type Copy struct {
	Home string `json:"home"` // the name of the machine that had the queue
	Run  string `json:"run"`
	// Number is that of the home.
	Number int       `json:"number,omitempty"`
	Time   time.Time `json:"time"` // as of when it is, by the clock of the manager that has it
}

func place(dataDir string) string           { return filepath.Join(dataDir, directory) }
func (c Copy) directory(data string) string { return filepath.Join(place(data), c.Run) }

// Have returns the copy in a data directory, nil where there is none.
func Have(dataDir string) (*Copy, error) {
	c := &Copy{}
	found, err := durable.ReadJSON(filepath.Join(place(dataDir), copyFile), c)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read which copy of the queue there is: %w", err)
	case !found || !runName.MatchString(c.Run):
		return nil, nil
	}
	return c, nil
}

// String says whose queue it is, and as of when.
func (c Copy) String() string {
	return fmt.Sprintf("as %s had it at %s", c.Home, c.Time.Local().Format(time.DateTime))
}

// Keeper keeps a copy on a manager, says who is the home, and can become it.
type Keeper struct {
	Config  configs.Config
	Addr    netip.Addr                            // of this manager
	Cluster func(context.Context) (string, error) // Swarm's ID of the swarm
	Again   func()                                // has the node begin anew
	Changed func()                                // another home was told that it is one
	Audit   func(event string, attrs ...slog.Attr)
	Log     *slog.Logger

	mu     sync.Mutex
	memory *memory   // as on disk; nil: it is not known
	told   time.Time // a home was last told that it is one, or this manager began

	has   *Copy             // as on disk, but for its time
	wrote time.Time         // its time on disk
	small map[string][]byte // as on disk; nil: it is not known
}

// Handlers answers the home, and the manager that leads. It may be called once.
func (k *Keeper) Handlers() []agent.Handler {
	k.mu.Lock()
	k.told = time.Now()
	k.mu.Unlock()
	return []agent.Handler{
		agent.Raw(agent.RouteHomeCopy, http.HandlerFunc(k.serve)),
		beatCall.Handler(k.Log, func(_ context.Context, _ agent.Peer, b beat) (verdict, error) {
			was, _ := k.Told()
			v, err := k.judge(time.Now(), b)
			if is, _ := k.Told(); v.OK && is != was {
				k.Changed()
			}
			return v, err
		}),
		agreeCall.Handler(k.Log, func(_ context.Context, _ agent.Peer, a agreement) (vote, error) {
			return k.agree(time.Now(), a)
		}),
		takeCall.Handler(k.Log, func(ctx context.Context, _ agent.Peer, a agreement) (agent.None, error) {
			return agent.None{}, k.takeOver(ctx, time.Now(), a)
		}),
	}
}

func (k *Keeper) serve(w http.ResponseWriter, r *http.Request) {
	err := k.keep(r.Body)
	if refused := (*agent.StatusError)(nil); errors.As(err, &refused) {
		err = errors.New(refused.Text)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (k *Keeper) keep(r io.Reader) error {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	p, err := readParcel(r)
	if err != nil {
		return err
	}
	if setup.StateOf(k.Config) == setup.Created {
		return errors.New("it is the home of the queue itself")
	}
	if k.has == nil {
		if k.has, err = Have(k.Config.DataDir); err != nil {
			k.Log.Debug("failed to read of a copy of the queue", "error", err)
		}
	}
	size := int64(0)
	for _, f := range p.Files {
		size += f.Size
	}
	if err := home.Takes(k.Config, p.Small["config"], size); err != nil {
		return err
	}
	next := Copy{Home: p.Home, Run: p.Run, Time: now.UTC()}
	next.Number, _ = strconv.Atoi(string(p.Small["home.number"]))
	dir := next.directory(k.Config.DataDir)
	same := k.has != nil && k.has.Run == p.Run
	changed, err := keepFiles(filepath.Join(dir, "queue"), p.Files, r, !same)
	if err != nil {
		return err
	}
	if err := k.keepSmall(dir, p.Small, !same); err != nil {
		return err
	}
	if !same || changed || now.Sub(k.wrote) > sayAgain {
		if err := durable.WriteJSON(filepath.Join(place(k.Config.DataDir), copyFile), next); err != nil {
			return err
		}
		k.wrote = now
	}
	k.has = &next
	if same {
		return nil
	}
	return k.sweep(p.Run)
}

// keepFiles puts the bytes of files where they belong, and reports whether there were any. Other files go.
func keepFiles(dir string, parts []part, r io.Reader, anew bool) (changed bool, err error) {
	if anew {
		if err := os.RemoveAll(dir); err != nil {
			return false, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	counts := map[string]bool{}
	for _, f := range parts {
		counts[f.Name] = true
		if f.Size == 0 && f.At > 0 {
			if info, err := os.Stat(filepath.Join(dir, f.Name)); err != nil || info.Size() != f.At {
				return false, errAnew
			}
			continue
		}
		changed = true
		if err := keepFile(filepath.Join(dir, f.Name), f, r); err != nil {
			return false, err
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, entry := range list {
		if !counts[entry.Name()] {
			changed = true
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return false, err
			}
		}
	}
	return changed, nil
}

var errAnew = errors.New("it has another part of the queue, and needs all of it")

// keepFile appends to a file, or writes it: then it has its name once it is whole.
func keepFile(path string, f part, r io.Reader) error {
	if f.At == 0 {
		out, err := durable.Create(path, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = out.Cleanup() }()
		if err := carry(out, r, f.Size); err != nil {
			return err
		}
		return out.CloseAtomicallyReplace()
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return errAnew
	}
	defer out.Close()
	if info, err := out.Stat(); err != nil || info.Size() != f.At {
		return errAnew
	}
	return errors.Join(carry(out, r, f.Size), out.Sync())
}

func carry(w io.Writer, r io.Reader, size int64) error {
	if n, err := io.CopyN(w, r, size); err != nil {
		return fmt.Errorf("keep the queue: %d of %d bytes: %w", n, size, err)
	}
	return nil
}

func (k *Keeper) keepSmall(dir string, small map[string][]byte, anew bool) error {
	for _, name := range smallNames {
		path := filepath.Join(dir, name)
		data, there := small[name]
		switch was, known := k.small[name]; {
		case !anew && known == there && k.small != nil && bytes.Equal(was, data):
			continue
		case !there:
			if err := durable.Remove(path); err != nil {
				return err
			}
		default:
			if err := durable.WriteFile(path, data, 0o600); err != nil {
				return err
			}
		}
	}
	k.small = small
	return nil
}

// sweep removes copies of other runs.
func (k *Keeper) sweep(run string) error {
	list, err := os.ReadDir(place(k.Config.DataDir))
	if err != nil {
		return err
	}
	for _, entry := range list {
		if entry.IsDir() && entry.Name() != run {
			err = errors.Join(err, os.RemoveAll(filepath.Join(place(k.Config.DataDir), entry.Name())))
		}
	}
	return err
}

// Adopt has the machine of a config be the home of the queue in a swarm, with Swarm's ID of that, at an address, where
// a person has decided that the home of before is gone: with what the copy here has, if there is one, or of an empty
// queue. The config file stays as it is. Done twice, it does no harm.
func Adopt(cfg configs.Config, cluster string, addr netip.Addr) error {
	if setup.StateOf(cfg) == setup.Created {
		return nil
	}
	knows, err := (&Keeper{Config: cfg}).remember()
	if err != nil {
		return err
	}
	number := max(knows.Number, knows.Agreed)
	c, err := Have(cfg.DataDir)
	if err != nil {
		return err
	}
	if c == nil {
		if err := home.WriteNumber(cfg.DataDir, max(number, home.Number(cfg.DataDir))+1); err != nil {
			return err
		}
		return home.Empty(cfg, cluster, addr)
	}
	dir, at := c.directory(cfg.DataDir), ""
	if cfg.Queue != nil {
		at = cfg.Queue.DataDir
	}
	number = max(number, c.Number) + 1 // again the same, where this was cut off
	err = errors.Join(durable.Remove(filepath.Join(dir, "config")),
		durable.WriteFile(filepath.Join(dir, "queue.dir"), []byte(at), 0o600), home.WriteNumber(dir, number))
	if err != nil {
		return err
	}
	if err := install(cfg, *c, "adopted-"+c.Run, cluster, addr); err != nil {
		return err
	}
	return Clear(cfg.DataDir)
}

func install(cfg configs.Config, c Copy, id, cluster string, addr netip.Addr) error {
	if err := home.Install(cfg, c.directory(cfg.DataDir), id, cluster, addr); err != nil {
		return fmt.Errorf("go on with the copy of the queue: %w", err)
	}
	return nil
}

// Clear removes the copy in a data directory.
func Clear(dataDir string) error {
	err := os.RemoveAll(place(dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
