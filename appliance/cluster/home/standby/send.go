package standby

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// copyEvery is how often the journal is looked at, and so how old a copy is.
	copyEvery = 2 * time.Second
	// maxCopies is how many managers have one.
	maxCopies = 2
	// lastPatience bounds what is brought after the end.
	lastPatience = 3 * time.Second
	// late is how long there may be no copy before that is said.
	late = time.Minute
)

// Manager is another one, with a port between nodes.
type Manager struct {
	Name string
	Addr netip.AddrPort
}

// Home is the home of the queue: it brings other managers what its journal has more.
type Home struct {
	Config configs.Config // with a queue
	Name   string         // of this machine
	Addr   netip.Addr     // that others reach it at
	Run    func() string  // names the queue's process; empty: it does not run
	Others func() []Manager
	Client func() *http.Client // speaks to managers only
	Log    *slog.Logger

	begun time.Time
	mu    sync.Mutex
	peers map[netip.AddrPort]*peer
}

// peer is a manager that has a copy, or is to have one.
type peer struct {
	name string
	busy bool             // it is brought something
	run  string           // whose files it has
	has  map[string]int64 // bytes of each
	at   time.Time        // it had all; zero: never
	err  error            // why it has not
	said string
}

// Keep brings copies until ctx ends. It may be called once.
func (h *Home) Keep(ctx context.Context) error {
	h.mu.Lock()
	h.begun, h.peers = time.Now(), map[netip.AddrPort]*peer{}
	h.mu.Unlock()
	if err := Clear(h.Config.DataDir); err != nil { // it was a copy once
		h.Log.Debug("failed to remove a copy of the queue", "error", err)
	}
	going, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastPatience, cancel) })()
	for {
		for to, p := range h.idle() {
			all.Go(func() { h.bring(going, to, p, h.Run) }) // what was begun is brought to its end
		}
		if clock.Sleep(ctx, copyEvery) != nil {
			return nil
		}
	}
}

// idle returns the managers that are to have copies and are brought nothing now. It has them busy.
func (h *Home) idle() map[netip.AddrPort]*peer {
	others := h.Others()
	others = others[:min(len(others), maxCopies)]
	h.mu.Lock()
	defer h.mu.Unlock()
	idle := map[netip.AddrPort]*peer{}
	if h.peers == nil { // Keep has not begun
		return idle
	}
	for _, m := range others {
		p := h.peers[m.Addr]
		if p == nil {
			p = &peer{}
			h.peers[m.Addr] = p
		}
		if p.name = m.Name; !p.busy {
			p.busy = true
			idle[m.Addr] = p
		}
	}
	maps.DeleteFunc(h.peers, func(at netip.AddrPort, p *peer) bool {
		return !p.busy && !slices.ContainsFunc(others, func(m Manager) bool { return m.Addr == at })
	})
	return idle
}

// Before returns the queue as a part of a node. After its end, which is that of the node, those that have copies are
// brought what is new: a machine that is switched off as it should be takes nothing with it, whoever goes on.
func (h *Home) Before(queue lifecycle.Component) lifecycle.Component { return &before{queue, h} }

type before struct {
	lifecycle.Component
	home *Home
}

// Run implements lifecycle.Component.
func (b *before) Run(ctx context.Context) error {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	run, until := make(chan string, 1), time.Time{}
	defer context.AfterFunc(ctx, func() {
		until = time.Now().Add(lifecycle.StopTimeout - time.Second)
		run <- b.home.Run()
		cancel()
	})()
	err := b.Component.Run(running)
	if ctx.Err() != nil {
		run := <-run
		ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
		defer cancel()
		b.home.last(ctx, run)
	}
	return err
}

// last brings managers that have copies what is new of a process that has ended.
func (h *Home) last(ctx context.Context, run string) {
	ctx, cancel := context.WithTimeout(ctx, lastPatience)
	defer cancel()
	if run == "" {
		return // it was held, or had yet to begin
	}
	var all sync.WaitGroup
	for to, p := range h.idle() {
		all.Go(func() { h.bring(ctx, to, p, func() string { return run }) })
	}
	all.Wait()
}

// bring brings a manager what is new once.
func (h *Home) bring(ctx context.Context, to netip.AddrPort, p *peer, current func() string) {
	h.mu.Lock()
	run, has := p.run, p.has
	h.mu.Unlock()
	now := time.Now()
	run, has, err := h.send(ctx, to, run, has, current)
	h.mu.Lock()
	defer h.mu.Unlock()
	p.busy, p.run, p.has, p.err = false, run, has, err
	switch text := fmt.Sprint(err); {
	case err == nil:
		p.at, p.said = now, ""
	case ctx.Err() == nil && text != p.said:
		p.said = text
		h.Log.Info("failed to bring a copy of the queue to another manager", "node", p.name, "error", err)
	}
}

// send sends what is new since a manager had files of a run, and returns what it has then.
func (h *Home) send(
	ctx context.Context, to netip.AddrPort, run string, has map[string]int64, current func() string,
) (string, map[string]int64, error) {
	now := current()
	if now == "" {
		return run, has, errors.New("the queue does not run")
	}
	if run != now {
		has = nil
	}
	small, err := home.Small(h.Config)
	if err != nil {
		return run, has, err
	}
	files, err := open(h.Config.QueueDir())
	if err != nil {
		return run, has, fmt.Errorf("look at the queue's journal: %w", err)
	}
	defer closeAll(files)
	p := parcel{Run: now, Home: h.Name, Small: small}
	next := map[string]int64{}
	var bytes []io.Reader
	for _, f := range files {
		at := has[f.name]
		if f.size < at { // somebody has cut it: another process, which has yet to be seen
			return "", nil, fmt.Errorf("%s has become shorter", f.name)
		}
		p.Files = append(p.Files, part{Name: f.name, At: at, Size: f.size - at})
		bytes = append(bytes, io.NewSectionReader(f, at, f.size-at))
		next[f.name] = f.size
	}
	if current() != now { // its files may be those of either
		return "", nil, errors.New("the queue begins anew")
	}
	err = put(ctx, h.Client(), to, func(w io.Writer) error {
		if err := p.write(w); err != nil {
			return err
		}
		_, err := io.Copy(w, io.MultiReader(bytes...))
		return err
	})
	if err != nil { // whatever it has
		return "", nil, err
	}
	return now, next, nil
}

func put(ctx context.Context, client *http.Client, to netip.AddrPort, write func(io.Writer) error) error {
	body, in := io.Pipe()
	defer body.Close()
	go func() { in.CloseWithError(write(in)) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "https://"+to.String()+"/v1/home/copy", body)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return agent.Unreached(to.String(), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	said, _ := bound.ReadAll(resp.Body, 1<<10)
	return errors.New(words.OneLine(strings.TrimSpace(string(said))))
}

// Problem returns why other managers have no copy that is new, empty where one has or there are none.
func (h *Home) Problem() string {
	if len(h.Others()) == 0 {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	newest, why := h.begun, error(nil)
	for _, p := range h.peers {
		if p.at.After(newest) {
			newest = p.at
		}
		if p.err != nil {
			why = fmt.Errorf("%s: %w", p.name, p.err)
		}
	}
	if h.begun.IsZero() || time.Since(newest) < late || why == nil {
		return ""
	}
	return fmt.Sprintf("no other manager has a copy of the queue that is newer than %s (%s): with this machine, what "+
		"came since then would be lost", newest.Local().Format(time.DateTime), why)
}
