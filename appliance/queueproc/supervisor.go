package queueproc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/sandbox"
	"github.com/crawlbox/crawlbox/embedded/queue"
)

const (
	leastPause   = time.Second // before a process that ended is started again
	longestPause = time.Minute
	steadyTime   = 10 * time.Second // of service, after which the pause is the least again

	// readyPatience is how long the start of the node waits for a journal to be read.
	readyPatience = 10 * time.Second
	// killAfter is how long a process that was told to end may take: a little less than
	// a part of a node.
	killAfter = stopLimit + time.Second

	// The log of the process, lines a second and at once.
	logRate, logBurst = 5, 100
)

type Options struct {
	Listeners []net.Listener // of TCP; they stay open when Run returns. Required
	Password  string         // of the user "default". Required
	Engine    *Engine        // that keeps the items; nil: the process itself does, in Dir
	Dir       string         // of the data, given to the queue's user. Required
	MaxMemory int64          // bytes; 0: DefaultMemory

	// Leases, if not nil, are kept for clients, and Holders answers over a connection, until that ends, what the
	// process asks about their containers, as a [holder.Server] does.
	Leases  *Leases
	Holders func(ctx context.Context, conn io.ReadWriteCloser) error

	// TLS issues a certificate, which the process gets at its start and when Renew is
	// called; nil: no TLS.
	TLS func() (KeyPair, error)

	Env []string // the whole environment of the process, in which this program calls Main

	Silence, LongestCommand time.Duration // before the process counts as hung; default 30 s and 1 min
	Pause                   time.Duration // before the first restart; default 1 s
}

type State struct {
	Serving  bool
	Problem  string // why it does not serve, where and what to do; one line
	PID      int    // of the process; 0: none
	Restarts int
	Missing  []sandbox.Missing // steps of the sandbox that this machine does not allow
	Progress queue.Progress    // as the process said last
	Engine   string            // why the engine can't be used, where and what to do; one line, empty if it can
	Outages  []fleet.Outage    // oldest first; of many the last ones
}

// keptOutages bounds how many outages are known.
const keptOutages = 16

// down adds an outage, unless one lasts.
func (st *State) down(o fleet.Outage) {
	n := len(st.Outages)
	if n > 0 && st.Outages[n-1].Ended.IsZero() {
		return
	}
	st.Outages = append(st.Outages[max(0, n+1-keptOutages):], o)
}

// up ends the outage that lasts.
func (st *State) up(now time.Time) {
	if n := len(st.Outages); n > 0 && st.Outages[n-1].Ended.IsZero() {
		st.Outages[n-1].Ended = now
	}
}

// Supervisor keeps the queue's process running. It is a component of a node.
type Supervisor struct {
	opts    Options
	log     *slog.Logger
	words   *rate.Limiter
	renew   chan struct{}
	moved   chan struct{}
	again   chan struct{} // the process is to be started again, with another port
	up      chan []string
	holding chan struct{} // a hold has begun
	ready   chan struct{}
	once    sync.Once

	isolation sandbox.Isolation // that works here
	whyWeaker error             // why it is not the best

	mu        sync.Mutex
	state     State
	listeners []*os.File    // what the process inherits
	engine    *Engine       // as Options.Engine, or as it was set since
	held      string        // why nobody is to be served; empty: somebody is
	freed     chan struct{} // closed at the end of the hold
}

// New checks the options. Nothing is started before Run.
func New(opts Options, log *slog.Logger) (*Supervisor, error) {
	if len(opts.Listeners) == 0 || opts.Password == "" || opts.Dir == "" {
		return nil, errors.New("queue: a listener, a password and a directory are required")
	}
	if opts.Leases != nil {
		if err := opts.Leases.Rules.Validate(); err != nil {
			return nil, fmt.Errorf("queue: %w", err)
		}
	}
	opts.MaxMemory = cmp.Or(opts.MaxMemory, DefaultMemory())
	opts.Silence = cmp.Or(opts.Silence, silenceLimit)
	opts.LongestCommand = cmp.Or(opts.LongestCommand, commandLimit)
	opts.Pause = cmp.Or(opts.Pause, leastPause)
	s := &Supervisor{
		opts:    opts,
		log:     log,
		words:   rate.NewLimiter(logRate, logBurst),
		renew:   make(chan struct{}, 1),
		moved:   make(chan struct{}, 1),
		up:      make(chan []string, 1),
		again:   make(chan struct{}, 1),
		ready:   make(chan struct{}),
		holding: make(chan struct{}, 1),

		engine: opts.Engine,
	}
	s.state.down(fleet.Outage{Seen: time.Now(), Restart: true})
	for _, ln := range opts.Listeners {
		file, err := fileOf(ln)
		if err != nil {
			s.closeListeners()
			return nil, fmt.Errorf("queue: pass the port on: %w", err)
		}
		s.listeners = append(s.listeners, file)
	}
	if os.Geteuid() != 0 {
		s.isolation, s.whyWeaker = sandbox.None, errors.New("crawlbox was not started by root")
	}
	return s, nil
}

func fileOf(ln net.Listener) (*os.File, error) {
	file, ok := ln.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, errors.New("it is none of TCP")
	}
	return file.File()
}

func (s *Supervisor) closeListeners() {
	for _, file := range s.files() {
		file.Close()
	}
}

func (s *Supervisor) files() []*os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.listeners)
}

// Listen has the process serve another listener, beside Options.Listeners. For that it is started again: clients
// connect anew.
func (s *Supervisor) Listen(ln net.Listener) error {
	file, err := fileOf(ln)
	if err != nil {
		return fmt.Errorf("queue: pass the port on: %w", err)
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, file)
	s.mu.Unlock()
	select {
	case s.again <- struct{}{}:
	default:
	}
	return nil
}

// Ready returns a channel that Run closes once clients are served or it is known why they are not; at
// the latest after a while.
func (s *Supervisor) Ready() <-chan struct{} { return s.ready }

// State returns how the queue is. It waits for nothing.
func (s *Supervisor) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state
	state.Missing, state.Outages = slices.Clone(state.Missing), slices.Clone(state.Outages)
	return state
}

// Outages returns the times in which it was not served, the oldest first. It waits for nothing.
func (s *Supervisor) Outages() []fleet.Outage { return s.State().Outages }

// Renew has the process take another certificate into use. It does not block.
func (s *Supervisor) Renew() {
	select {
	case s.renew <- struct{}{}:
	default:
	}
}

// SetEngine has another engine take the place of Options.Engine, which there has to be: connections to the one before
// are closed, and clients that wait for nothing do not notice. It does not block.
func (s *Supervisor) SetEngine(e Engine) {
	s.mu.Lock()
	s.engine = &e
	s.mu.Unlock()
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// engineNow returns the engine of now, nil where the process has its own.
func (s *Supervisor) engineNow() *Engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine
}

func (s *Supervisor) set(change func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
}

func (s *Supervisor) markReady() { s.once.Do(func() { close(s.ready) }) }

// Run keeps the process running until ctx ends. It returns nil: whatever the process
// does is no reason for the node to end.
func (s *Supervisor) Run(ctx context.Context) error {
	defer s.closeListeners()
	defer time.AfterFunc(readyPatience, s.markReady).Stop()
	wait := s.opts.Pause
	for {
		if s.awaitRelease(ctx) != nil {
			return nil
		}
		served, err := s.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errHeld) {
			continue
		}
		if errors.Is(err, errAgain) {
			s.set(func(st *State) {
				st.Serving = false
				st.down(fleet.Outage{Seen: time.Now(), Restart: true})
			})
			continue
		}
		if served > steadyTime {
			wait = s.opts.Pause
		}
		s.tellFailure(err, wait)
		s.markReady()
		if clock.Sleep(ctx, wait) != nil {
			return nil
		}
		wait = min(2*wait, longestPause)
		s.set(func(st *State) { st.Restarts++ })
	}
}

// Hold ends the process, and has nobody served until Release. It does not wait for that: the process is killed where
// it does not end within holdPatience.
func (s *Supervisor) Hold(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != "" {
		return
	}
	s.held, s.freed = why, make(chan struct{})
	select {
	case s.holding <- struct{}{}:
	default:
	}
}

// Release has clients served again after Hold.
func (s *Supervisor) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != "" {
		s.held = ""
		close(s.freed)
	}
}

// holdPatience is how long a process may take to end that is held.
const holdPatience = time.Second

// errHeld says that a process was ended since the queue is held.
var errHeld = errors.New("the queue is held")

// awaitRelease waits until nobody holds the queue. It returns ctx's error if that ends before.
func (s *Supervisor) awaitRelease(ctx context.Context) error {
	for {
		s.mu.Lock()
		why, freed := s.held, s.freed
		s.mu.Unlock()
		if why == "" {
			return ctx.Err()
		}
		s.set(func(st *State) {
			st.Serving, st.PID, st.Problem, st.Progress, st.Engine = false, 0, why, queue.Progress{}, ""
			st.down(fleet.Outage{Seen: time.Now()})
		})
		s.log.Info("the queue is held, and serves nobody", "why", why)
		s.markReady()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isHeld reports whether the queue is held.
func (s *Supervisor) isHeld() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held != ""
}

func (s *Supervisor) tellFailure(err error, wait time.Duration) {
	text := printable(err.Error())
	s.set(func(st *State) {
		st.Serving, st.PID, st.Problem, st.Progress, st.Engine = false, 0, text, queue.Progress{}, ""
		st.down(fleet.Outage{Seen: time.Now()})
	})
	s.log.Error("the queue does not run; all else does", "error", text, "again_in", wait.String())
}

// serve runs one process to its end, and says how long it served.
func (s *Supervisor) serve(ctx context.Context) (served time.Duration, err error) {
	who, err := findAccount()
	if err != nil {
		return 0, err
	}
	directory, err := openDirectory(s.opts.Dir, who)
	if err != nil {
		return 0, err
	}
	defer directory.Close()
	for {
		p, err := s.start(directory, who)
		if err == nil {
			w := watch{Supervisor: s, process: p, health: newHealth(time.Now(), s.opts.Silence, s.opts.LongestCommand)}
			served, err = w.run(ctx)
			if !errors.Is(err, errNotConfined) {
				return served, err
			}
		}
		if s.isolation == sandbox.None || ctx.Err() != nil ||
			!sandbox.Forbidden(err) && !errors.Is(err, errNotConfined) {
			return 0, err
		}
		s.isolation, s.whyWeaker = s.isolation.Weaker(), err
	}
}

// errAgain says that a process was ended to be started with another port.
var errAgain = errors.New("it gets another port")

// errNotConfined says that a process could not go into the sandbox in the namespaces
// that it was started in.
var errNotConfined = errors.New("the sandbox does not work in these namespaces")

// watch follows one process.
type watch struct {
	*Supervisor
	*process
	health   *health
	failure  error // that the process has told
	notWhole bool
	dropped  int // lines of its log
	ready    time.Time
}

// run returns when the process has ended: nil if ctx did before.
func (w *watch) run(ctx context.Context) (served time.Duration, err error) {
	w.set(func(st *State) { st.PID = w.cmd.Process.Pid })
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			w.stop(killAfter)
			return w.served(), nil
		case r, ok := <-w.reports:
			if !ok {
				return w.served(), w.ended()
			}
			w.take(r)
		case <-w.holding:
			if w.isHeld() {
				w.stop(holdPatience)
				return w.served(), errHeld
			}
		case <-w.renew:
			w.passCertificate()
		case <-w.again:
			w.stop(killAfter)
			return w.served(), errAgain
		case <-w.moved:
			_ = w.orders.write(order{Engine: w.engineNow()}) // one that does not take it ends, which is seen then
		case up := <-w.up:
			_ = w.orders.write(order{Up: up}) // a process that has ended is seen
		case <-ticker.C:
			if why := w.health.hangReason(time.Now(), look(w.cmd.Process.Pid)); why != "" {
				return w.served(), w.end(why)
			}
		}
	}
}

// end kills a process that hangs. One that waits for a disk ends when that answers.
func (w *watch) end(why string) error {
	err := fmt.Errorf("its process hung and was ended: %s", why)
	w.set(func(st *State) {
		st.Serving, st.Problem = false, err.Error()
		st.down(fleet.Outage{Seen: time.Now().Add(-w.opts.Silence)})
	})
	w.stop(0)
	return err
}

func (w *watch) served() time.Duration {
	if w.ready.IsZero() {
		return 0
	}
	return time.Since(w.ready)
}

// ended returns why a process ended by itself, or has closed its control socket.
func (w *watch) ended() error {
	w.stop(killAfter)
	switch {
	case w.notWhole && w.failure != nil:
		return fmt.Errorf("%w: %w", errNotConfined, w.failure)
	case w.failure != nil:
		return w.failure
	}
	return w.ending()
}

func (w *watch) take(r report) {
	switch {
	case r.Confined != nil:
		w.confined(r.Confined.Missing)
	case r.Ready:
		w.ready = time.Now()
		w.set(func(st *State) {
			st.Serving, st.Problem = true, ""
			st.up(w.ready)
		})
		w.markReady()
	case r.Progress != nil:
		w.health.observe(*r.Progress, time.Now(), look(w.cmd.Process.Pid))
		w.set(func(st *State) {
			st.Progress, st.Engine = *r.Progress, printable(r.Engine)
			switch {
			case st.Engine != "":
				st.down(fleet.Outage{Seen: time.Now()})
			case st.Serving:
				st.up(time.Now())
			}
		})
	case r.Failed != nil:
		w.failure = r.Failed.error(w.opts.Dir)
	case r.Log != nil:
		w.repeat(r.Log)
	}
}

// confined takes what the process lacks of the sandbox, and says so once.
func (w *watch) confined(missing []sandbox.Missing) {
	w.notWhole = w.isolation != sandbox.None && slices.ContainsFunc(missing, sandbox.Missing.Essential)
	if w.notWhole {
		return // it is started anew
	}
	if w.isolation == sandbox.None && w.whyWeaker != nil {
		missing = append(missing, sandbox.Missing{Step: sandbox.StepNamespaces, Reason: printable(w.whyWeaker.Error())})
	}
	for i := range missing {
		missing[i].Step, missing[i].Reason = printable(missing[i].Step), printable(missing[i].Reason)
	}
	if was := w.State().Missing; !slices.Equal(was, missing) {
		for _, m := range missing {
			w.log.Warn("the queue's process lacks a part of its sandbox", "lacks", m.Step, "reason", m.Reason)
		}
	}
	w.set(func(st *State) { st.Missing = missing })
}

func (w *watch) passCertificate() {
	if w.opts.TLS == nil {
		return
	}
	pair, err := w.opts.TLS()
	if err == nil {
		err = w.orders.write(order{TLS: &pair})
	}
	if err != nil {
		w.log.Warn("failed to renew the queue's certificate", "error", err)
	}
}

// repeat logs a line of the process's log, as its and no more often than a log can
// take.
func (w *watch) repeat(line json.RawMessage) {
	var fields map[string]any
	var level slog.Level
	if !w.words.Allow() {
		w.dropped++
		return
	}
	if w.dropped > 0 {
		w.log.Warn("the queue's process logs more than is kept", "dropped", w.dropped)
		w.dropped = 0
	}
	if json.Unmarshal(line, &fields) != nil {
		return
	}
	text, _ := fields[slog.LevelKey].(string)
	_ = level.UnmarshalText([]byte(text))
	msg, _ := fields[slog.MessageKey].(string)
	var attrs []slog.Attr
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != slog.LevelKey && name != slog.MessageKey && name != slog.TimeKey {
			attrs = append(attrs, slog.String(printable(name), printable(fmt.Sprint(fields[name]))))
		}
	}
	w.log.LogAttrs(context.Background(), min(level, slog.LevelError), printable(msg), attrs...)
}
