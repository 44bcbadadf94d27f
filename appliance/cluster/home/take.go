package home

import (
	"archive/tar"
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
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/disk"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	idHeader = "Crawlbox-Move"
	// staging has what was sent, until it is taken or another move begins.
	staging = "moving"
	// maxText bounds the config file and the password, in bytes; minFree is what stays free on the disk.
	maxText = 4 << 20
	minFree = 1 << 30
	maxID   = 64
)

// taker is a manager that may become the home.
type taker struct {
	configs.Config
	addr    netip.Addr
	cluster func(context.Context) (string, error)
	audit   func(event string, attrs ...slog.Attr)

	again func()

	mu   sync.Mutex
	anew bool // it begins anew, as the home
}

// Answer takes what the home of before sends to a manager at an address, and has it begin anew then. cluster
// returns Swarm's ID of the swarm.
func Answer(cfg configs.Config, addr netip.Addr, cluster func(context.Context) (string, error), again func(),
	audit func(event string, attrs ...slog.Attr)) []agent.Handler {
	t := &taker{Config: cfg, addr: addr, cluster: cluster, audit: audit, again: again}
	answer := func(do func(*http.Request, string) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			t.mu.Lock()
			defer t.mu.Unlock()
			id := r.Header.Get(idHeader)
			err := errors.New("no move is named")
			if id != "" && len(id) <= maxID {
				err = do(r, id)
			}
			if refused := (*agent.StatusError)(nil); errors.As(err, &refused) {
				http.Error(w, refused.Text, refused.Code)
			} else if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			} else {
				w.WriteHeader(http.StatusNoContent)
			}
		}
	}
	return []agent.Handler{
		agent.Raw(agent.RouteHomeSend, answer(t.keep)),
		agent.Raw(agent.RouteHomeTake, answer(t.take)),
	}
}

func refuse(format string, args ...any) error {
	return &agent.StatusError{Code: http.StatusConflict, Text: fmt.Sprintf(format, args...)}
}

func (t *taker) path(name string) string { return filepath.Join(t.DataDir, name) }

// keep keeps aside what is sent.
func (t *taker) keep(r *http.Request, id string) error {
	if setup.StateOf(t.Config) == setup.Created {
		return refuse("it is the home of the queue itself")
	}
	dir := t.path(staging)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "queue"), 0o700)); err != nil {
		return err
	}
	files := tar.NewReader(r.Body)
	for {
		entry, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read what is sent: %w", err)
		}
		if err := t.keepFile(dir, entry, files); err != nil {
			return err
		}
	}
	return durable.WriteFile(filepath.Join(dir, "id"), []byte(id), 0o600) // all is there
}

func (t *taker) keepFile(dir string, entry *tar.Header, data io.Reader) error {
	name, ok := strings.CutPrefix(entry.Name, queuePrefix)
	switch {
	case ok && isJournal(name):
		return t.keepJournal(filepath.Join(dir, "queue", name), entry.Size, data)
	case !slices.Contains([]string{configName, passwordName, dirName, beforeName, numberName}, entry.Name):
		return refuse("%.40q is nothing that is moved", entry.Name)
	}
	text, err := bound.ReadAll(data, maxText)
	if err != nil {
		return err
	}
	if entry.Name == configName {
		if err := t.fits(text); err != nil {
			return err
		}
	}
	return durable.WriteFile(filepath.Join(dir, entry.Name), text, 0o600)
}

// comment is a line of a config file that sets nothing; an installation writes a file of such alone.
var comment = regexp.MustCompile(`(?m)^[ \t]*#.*$`)

// fits refuses to replace a config file of this machine's own, and a move whose end could not write it: a unit of
// systemd that an earlier version wrote has it read-only.
func (t *taker) fits(text []byte) error {
	own, err := os.ReadFile(t.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(bytes.TrimSpace(comment.ReplaceAll(own, nil))) > 0 &&
		!bytes.Equal(advertised.ReplaceAll(own, []byte("#$0")), text) {
		return refuse("it has a config file of its own, %s: make it that of the manager, or remove it", t.File)
	}
	dir := filepath.Dir(t.File)
	if err := errors.Join(os.MkdirAll(dir, 0o755), unix.Access(dir, unix.W_OK)); err != nil {
		return refuse("its crawlbox can't write to %s (%v): run `crawlbox install worker` there, or `crawlbox install "+
			"manager` if its unit is of one, which writes a unit that allows it", dir, err)
	}
	return nil
}

// room refuses so many bytes of a queue where the disk would be full.
func (t *taker) room(size int64) error {
	if free := disk.FreeBytes(t.DataDir); free-minFree < size {
		return refuse("its disk has %d MB free, and the queue needs more", free>>20)
	}
	return nil
}

func (t *taker) keepJournal(path string, size int64, data io.Reader) error {
	if err := t.room(size); err != nil {
		return err
	}
	f, err := durable.Create(path, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // of what was not kept
	if n, err := io.Copy(f, io.LimitReader(data, size)); err != nil || n != size {
		return fmt.Errorf("keep the queue: %d of %d bytes: %w", n, size, err)
	}
	return f.CloseAtomicallyReplace()
}

// take has this machine be the home, once all was sent, and has it begin anew as that. Done again, it does no harm,
// and is an error until that has begun.
func (t *taker) take(r *http.Request, id string) error {
	if taken, err := os.ReadFile(t.path(takenFile)); err == nil && string(taken) == id &&
		setup.StateOf(t.Config) == setup.Created {
		if t.anew {
			return errors.New("it begins anew as the home")
		}
		return nil
	}
	dir := t.path(staging)
	if sent, err := os.ReadFile(filepath.Join(dir, "id")); err != nil || string(sent) != id {
		return refuse("nothing was sent to it in this move")
	}
	cluster, err := t.cluster(r.Context())
	if err != nil {
		return err
	}
	t.audit("home taken", slog.String("move", id))
	if err := Install(t.Config, dir, id, cluster, t.addr); err != nil {
		return err
	}
	t.anew = true
	t.again()
	return os.RemoveAll(dir)
}

// Install has the machine of a config be the home in a swarm, with Swarm's ID of that, at an address, with what a
// directory on the disk of its data has: files as of Small, and those of the queue's journal below "queue". id names
// how it came there. Done again after it was cut off, it goes on; what was installed is no longer in the directory.
func Install(cfg configs.Config, dir, id, cluster string, addr netip.Addr) error {
	path := func(name string) string { return filepath.Join(cfg.DataDir, name) }
	if err := durable.WriteFile(path(takenFile), []byte(id), 0o600); err != nil {
		return err
	}
	if place, err := os.ReadFile(filepath.Join(dir, dirName)); err == nil && isThere(filepath.Join(dir, "queue")) {
		cfg := cfg
		cfg.Queue = &configs.Queue{DataDir: string(place)}
		queue := cfg.QueueDir()
		aside := queue + ".before"
		err := errors.Join(os.RemoveAll(aside), rename(queue, aside), os.MkdirAll(filepath.Dir(queue), 0o700))
		if err == nil {
			err = rename(filepath.Join(dir, "queue"), queue)
		}
		if err != nil {
			return fmt.Errorf("put the queue in its place: %w", err)
		}
	}
	for name, path := range map[string]string{
		configName: cfg.File, passwordName: path(passwordName), beforeName: path(beforeName),
		numberName: path(numberName),
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), durable.WriteFile(path, text, 0o600))
		}
		if err != nil {
			return fmt.Errorf("put %s in its place: %w", path, err)
		}
	}
	if err := durable.Remove(path(movedFile)); err != nil {
		return err
	}
	return setup.Keep(cfg, cluster, addr) // from now on it is
}

// Takes returns why the machine of a config can't be given the home's config file, or so many bytes of its queue.
func Takes(cfg configs.Config, text []byte, size int64) error {
	t := &taker{Config: cfg}
	if len(text) > maxText {
		return refuse("the config file is larger than %d MB", maxText>>20)
	}
	if err := t.fits(text); err != nil {
		return err
	}
	return t.room(size)
}

// Empty has the machine of a config be the home of an empty queue in a swarm, with Swarm's ID of that, at an
// address, where the home of before is gone. Done twice, it does no harm.
func Empty(cfg configs.Config, cluster string, addr netip.Addr) error {
	if setup.StateOf(cfg) == setup.Created {
		return nil
	}
	queue := cfg.QueueDir()
	if isThere(queue) { // of another time
		aside := queue + ".before"
		if err := errors.Join(os.RemoveAll(aside), rename(queue, aside)); err != nil {
			return fmt.Errorf("put an old queue aside: %w", err)
		}
	}
	if err := durable.Remove(filepath.Join(cfg.DataDir, movedFile)); err != nil {
		return err
	}
	return setup.Keep(cfg, cluster, addr)
}

// rename gives a directory another name for good, if it is there.
func rename(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, durable.SyncDir(filepath.Dir(to)))
}
