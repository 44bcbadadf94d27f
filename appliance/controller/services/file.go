package services

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/configs"
)

// BrokenError is of a config file that can't be read, or not be understood.
type BrokenError struct{ Err error }

func (e *BrokenError) Error() string { return e.Err.Error() }
func (e *BrokenError) Unwrap() error { return e.Err }

// Shared is the document that says which services are in force. *state.Document is one.
type Shared interface {
	Document
	// Changed returns a channel that is closed when the document may have changed.
	Changed() <-chan struct{}
}

// Owner is a manager whose file may be in force.
type Owner struct {
	ID   string // of its certificate
	Name string // for people
	// Created says that it made the cluster, or restored it.
	Created bool
	// First reports whether it is the one to say which services are in force where that is not known yet.
	First func() bool
	// Managers returns the IDs of all managers that are known.
	Managers func() []string
}

// File is the config file of this manager, and which manager's file is in force in the cluster: that which was
// applied last. A manager applies its own when it has changed since it last did so; another one that differs stays
// as it is. Its methods may be called from any goroutine.
type File struct {
	doc  Shared
	self Owner
	load func() (configs.Config, error)
	// Sync, if not nil, brings the document up to date with other managers.
	Sync func(context.Context) error
	log  *slog.Logger

	mu     sync.Mutex
	first  configs.Config // the file as it was when crawlbox began
	own    configs.Config // the last one that was whole
	text   []byte         // of own, as in force.Config
	hash   string         // of own, as in force.Hash
	broken string         // why the file can't be read; empty: it can
	late   string         // what counts after a restart only; empty: nothing
	failed string         // why it could not be applied; empty: it was, or need not be
	said   string         // what was logged last of it being broken

	seen []byte // the document of which is:
	is   *force // nil: there is none
	cfg  configs.Config
	rev  string // of cfg
	odd  error  // why the document can't be understood; cfg is of the one before then
}

// force is the document.
type force struct {
	Manager string          `json:"manager"` // whose file it is, for people
	Node    string          `json:"node"`    // the ID of that manager
	File    string          `json:"file"`
	At      time.Time       `json:"at"`
	Config  json.RawMessage `json:"config"` // what of the file is the cluster's, see configs.OfCluster
	Hash    string          `json:"hash"`   // of what that means
	// Applied has the hash of what each manager applied last, by ID; empty of one that is known and was not asked yet,
	// whose file is none of a change. There are no others than managers.
	Applied map[string]string `json:"applied"`
}

// NewFile returns the file of a manager with a config, which load reads again.
func NewFile(
	doc Shared, self Owner, cfg configs.Config, load func() (configs.Config, error), log *slog.Logger,
) (*File, error) {
	f := &File{doc: doc, self: self, load: load, log: log, first: cfg}
	if as, err := load(); err == nil { // without what a start adds to it
		f.first = as
	}
	return f, f.take(cfg)
}

// take makes a config this manager's own.
func (f *File) take(cfg configs.Config) error {
	text, err := configs.OfCluster(cfg)
	if err != nil {
		return err
	}
	if len(text) > state.MaxDocument/2 {
		return fmt.Errorf("its services are too many: written out they have %d bytes, the limit is %d", len(text),
			state.MaxDocument/2)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.own, f.text, f.hash = cfg, text, hashOf(cfg)
	f.seen, f.rev = nil, "" // the one in force may be this one
	return nil
}

// hashOf changes when, and only when, what of a config is the cluster's means something else.
func hashOf(cfg configs.Config) string {
	type service struct{ Hash, Build any }
	all := []any{cfg.Prune, cfg.Swarm}
	for _, s := range cfg.Services {
		all = append(all, service{s.Hash, s.Compose.Build})
	}
	if len(cfg.Schedules) > 0 { // versions before had none
		all = append(all, cfg.Schedules)
	}
	if !cfg.Alerts.IsZero() {
		all = append(all, cfg.Alerts)
	}
	text, _ := json.Marshal(all) // compose-go's own hash does so too
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Read reads the file again, and applies it where it has changed. One that is broken changes nothing; the error is
// a BrokenError then.
func (f *File) Read() error {
	cfg, err := f.load()
	var late []string
	if err == nil {
		late, err = configs.Differ(f.first, cfg), f.take(cfg)
	}
	f.mu.Lock()
	if f.late = ""; len(late) > 0 {
		f.late = fmt.Sprintf("%s in %s is not what crawlbox began with, and counts after `systemctl restart crawlbox`",
			strings.Join(late, ", "), cfg.File)
	}
	f.broken = ""
	if err != nil {
		f.broken = "the config file is broken and the state before it stays: " + words.Brief(err, "mistake")
	}
	again := f.said == f.broken
	f.said = f.broken
	f.mu.Unlock()
	if err != nil {
		if !again {
			f.log.Error("the config file is broken; the state before it stays", "error", err)
		}
		return &BrokenError{err}
	}
	return f.apply()
}

// apply puts the own file in force where it has changed since that was done last.
func (f *File) apply() error {
	f.mu.Lock()
	own, text, hash := f.own, f.text, f.hash
	f.mu.Unlock()
	err := f.put(own, text, hash)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed = ""; err != nil {
		f.failed = fmt.Sprintf("the services of %s could not be put in force: %s; it is tried again", own.File,
			words.OneLine(err.Error()))
	}
	return err
}

func (f *File) put(own configs.Config, text []byte, hash string) error {
	switch is, err := f.force(); {
	case err != nil:
		return err
	case is == nil && !f.self.First(), is != nil && is.Applied[f.self.ID] == hash:
		return nil
	}
	var taken bool
	err := f.doc.Update("apply the config file of "+f.self.Name, func(data []byte) ([]byte, error) {
		was, err := decodeForce(data)
		if err != nil {
			return nil, err
		}
		next := was.with(f.self, own, text, hash)
		taken = was == nil || next.Hash != was.Hash
		return json.Marshal(next)
	})
	if err == nil && taken {
		f.log.Info("the services of the config file are in force", "file", own.File, "services", len(own.Services))
	}
	return err
}

// force returns the document; nil: there is none.
func (f *File) force() (*force, error) {
	data, err := f.doc.Load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return decodeForce(data)
}

func decodeForce(data []byte) (*force, error) {
	if data == nil {
		return nil, nil
	}
	is := &force{}
	if err := json.Unmarshal(data, is); err != nil {
		return nil, state.Damaged(state.Services, err)
	}
	return is, nil
}

// with returns the document after a manager has looked at it with its own file, which is in force then if it has
// changed since the manager looked last, or if the manager is new; but not of one that was there before the document,
// nor of one that has restored the cluster. A file without services, schedules and alerts takes away none but its own.
func (is *force) with(self Owner, own configs.Config, text []byte, hash string) *force {
	next, known := force{}, append(self.Managers(), self.ID)
	if is != nil {
		next = *is
	}
	next.Applied = map[string]string{}
	for _, id := range known {
		if is == nil {
			next.Applied[id] = ""
		} else if was, there := is.Applied[id]; there {
			next.Applied[id] = was
		}
	}
	was, there := next.Applied[self.ID]
	next.Applied[self.ID] = hash
	old := was == "" && (there || self.Created)
	if is != nil && (old || is.Hash == hash || isEmpty(own) && is.Node != self.ID) {
		return &next
	}
	next.Manager, next.Node, next.File, next.At = self.Name, self.ID, own.File, time.Now().UTC()
	next.Config, next.Hash = text, hash
	return &next
}

// isEmpty reports whether a config has nothing of the cluster's that a file without would take away.
func isEmpty(cfg configs.Config) bool {
	return len(cfg.Services)+len(cfg.Schedules) == 0 && cfg.Alerts.IsZero()
}

// Config returns the config of this manager with the services that are in force, and what tells it from another. Where
// those can't be understood, the error says so, and the config is the one before.
func (f *File) Config() (cfg configs.Config, rev string, err error) {
	data, err := f.doc.Load()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && !errors.Is(err, fs.ErrNotExist) || f.rev != "" && slices.Equal(data, f.seen) {
		return f.cfg, f.rev, f.odd
	}
	is, err := decodeForce(data)
	if err == nil {
		err = f.use(is)
	}
	if f.seen, f.odd = data, nil; err != nil {
		f.odd = fmt.Errorf("the services in force can't be understood, and all stays as it is: %s; bring the managers "+
			"to one version", words.Brief(err, "mistake"))
	}
	return f.cfg, f.rev, f.odd
}

// use takes a document into use. The caller holds mu.
func (f *File) use(is *force) error {
	cfg := f.own
	switch {
	case is == nil:
		if !f.self.First() {
			cfg.Services, cfg.Schedules, cfg.Alerts = nil, nil, configs.Default().Alerts
			cfg.Prune, cfg.Swarm = false, configs.Swarm{TaskHistory: -1}
		}
		f.is, f.cfg, f.rev = nil, cfg, hashOf(cfg)
		return nil
	case is.Hash != f.hash: // of the own file the lines are known too
		other, err := configs.Parse(is.File, is.Config)
		if err != nil {
			f.rev = is.Hash
			return err
		}
		cfg.Services, cfg.Schedules, cfg.Alerts = other.Services, other.Schedules, other.Alerts
		cfg.Prune, cfg.Swarm = other.Prune, other.Swarm
	}
	f.is, f.cfg, f.rev = is, cfg, is.Hash
	return nil
}

// sync has the document be as new as other managers have it, if that takes no time to speak of.
func (f *File) sync() {
	if f.Sync == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), syncTimeout)
	defer cancel()
	if err := f.Sync(ctx); err != nil {
		f.log.Debug("failed to bring the services in force up to date", "error", err)
	}
}

// syncTimeout bounds how long other managers are asked whether there are newer services in force.
const syncTimeout = 3 * time.Second

// Notes returns what is to be known of the file on this manager.
func (f *File) Notes() (list []Note) {
	_, _, odd := f.Config()
	f.mu.Lock()
	defer f.mu.Unlock()
	add := func(kind NoteKind, text string) {
		if text != "" {
			list = append(list, Note{Kind: kind, Text: text})
		}
	}
	add(Broken, f.broken)
	add(Late, f.late)
	add(Unready, f.failed)
	if odd != nil {
		add(Unready, odd.Error())
	}
	if is := f.is; is != nil && is.Hash != f.hash && !isEmpty(f.own) {
		add(NotInForce, fmt.Sprintf("the services in force are those of %s on the manager %s, since %s, and not those "+
			"of this one's %s; a change here puts these in force, or take the services out of this file", is.File,
			is.Manager, is.At.Local().Format(time.DateTime), f.own.File))
	}
	return list
}

// applyRetry is how long an apply waits that follows a failed one.
const applyRetry = 5 * time.Second

// Part applies the file at the start, and whenever it changes.
func (f *File) Part() lifecycle.Part {
	return lifecycle.Part{Name: "config file", Component: lifecycle.Func(func(ctx context.Context, ready func()) error {
		changes, err := configs.Watch(ctx, f.own.File, f.log)
		if err != nil {
			return err
		}
		ready()
		retry := time.NewTimer(applyRetry)
		defer retry.Stop()
		for {
			changed := f.doc.Changed()
			if f.apply() != nil {
				retry.Reset(applyRetry)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			case <-retry.C:
			case _, ok := <-changes:
				if !ok {
					return nil
				}
				_ = f.Read() // which is a note
			}
		}
	})}
}
