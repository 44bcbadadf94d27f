package queue

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/holder"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

const (
	// frontMemory bounds what a front has for its clients, which are those of one machine: a thousand.
	frontMemory = 64 << 20
	// lookPause is between two looks at what is published, which is in memory, and at the addresses of this machine.
	lookPause = time.Second
)

// Front is the queue on a node that is not its home: it listens where programs and containers of this machine look for
// it, and passes what they say on to the home, wherever that is by now. It begins and ends with the cluster's queue.
type Front struct {
	config  configs.Config
	node    *pki.Identity // which has what is published, as this node was told
	engine  *swarm.Engine
	holders *holder.Server // once leases are kept
	log     *slog.Logger
	ports   ports

	of      front // that runs, or was refused
	running *running
	watched func() // ends looking at containers; nil: nobody does

	mu      sync.Mutex
	refused string                 // why none can run
	state   func() queueproc.State // nil: none runs
}

// NewFront returns one of a node, which tells its clients by the containers that an engine runs.
func NewFront(c configs.Config, node *pki.Identity, e *swarm.Engine, log *slog.Logger) *Front {
	return &Front{config: c, node: node, engine: e, log: log, ports: ports{log: log}}
}

// running is a process.
type running struct {
	*queueproc.Supervisor
	cancel context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex
	pair queueproc.KeyPair
}

// Part is the front as a part of a node.
func (f *Front) Part() lifecycle.Part { return lifecycle.Background("front of the queue", f.run) }

// run follows what is published until ctx ends. It returns nil: a node goes on without.
func (f *Front) run(ctx context.Context) error {
	defer f.end()
	var said []byte
	var want *front
	for {
		if data := f.node.Membership().Queue; !slices.Equal(data, said) {
			said = data
			p, err := parse(data)
			if want = p.Front; err != nil {
				f.log.Debug("this node goes on without the queue", "error", err)
			}
		}
		f.follow(want)
		if clock.Sleep(ctx, lookPause) != nil {
			return nil
		}
	}
}

// follow makes the front what it should be; nil: there is none.
func (f *Front) follow(want *front) {
	if want == nil {
		f.end()
		return
	}
	opened := f.ports.open(want.Port, append(bridgeAddrs(), doctor.Loopback)...)
	if len(f.ports.all) == 0 {
		f.stop()
		return
	}
	was, now := f.of, *want
	was.Engine, was.TLS, now.Engine, now.TLS = queueproc.Engine{}, nil, queueproc.Engine{}, nil
	same := reflect.DeepEqual(was, now) && (f.of.TLS == nil) == (want.TLS == nil) && len(opened) == 0
	if f.running == nil && (!same || f.refused == "") || f.running != nil && !same {
		f.start(*want)
	}
	if f.running == nil {
		return
	}
	if !reflect.DeepEqual(f.of.TLS, want.TLS) {
		f.running.use(queueproc.KeyPair(*want.TLS))
	}
	if f.of.Engine != want.Engine {
		f.log.Info("the queue is elsewhere now, and its clients here follow", "home", want.Engine.Addr)
		f.running.SetEngine(want.Engine)
	}
	f.of = *want
}

// use has a process show another certificate.
func (r *running) use(pair queueproc.KeyPair) {
	r.mu.Lock()
	r.pair = pair
	r.mu.Unlock()
	r.Renew()
}

func (r *running) issue() (queueproc.KeyPair, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pair, nil
}

// start starts a process in the place of the one before. Clients that come meanwhile wait in the ports' backlog.
func (f *Front) start(to front) {
	f.stop()
	r := &running{ended: make(chan struct{})}
	opts := queueproc.Options{
		Password:  to.Password,
		Engine:    &to.Engine,
		Dir:       filepath.Join(f.config.DataDir, "queue-front"),
		MaxMemory: frontMemory,
	}
	if c := f.config.Queue; c != nil && c.MaxMemory > 0 {
		opts.MaxMemory = int64(c.MaxMemory)
	}
	for _, p := range f.ports.all {
		opts.Listeners = append(opts.Listeners, p.Listener)
	}
	if to.TLS != nil {
		r.pair, opts.TLS = queueproc.KeyPair(*to.TLS), r.issue
	}
	if to.Leases != nil {
		f.watch()
		opts.Leases = &queueproc.Leases{Rules: to.Leases.Rules, Node: f.node.Node.ID}
		opts.Holders = f.holders.Serve
	}
	var err error
	f.of = to
	if r.Supervisor, err = queueproc.New(opts, f.log); err != nil {
		f.set(nil, err.Error())
		return
	}
	f.log.Info("this node has the queue for its own programs", "port", to.Port, "home", to.Engine.Addr)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.ended)
		_ = r.Run(ctx)
	}()
	f.running = r
	f.set(r.State, "")
}

// watch begins to look at the containers of this node, whose leases are kept.
func (f *Front) watch() {
	if f.watched != nil {
		return
	}
	f.holders = holder.New(containers.New(f.engine.Client()), f.log)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.holders.Run(ctx)
	}()
	f.watched = func() { cancel(); <-ended }
}

func (f *Front) stop() {
	if f.running == nil {
		return
	}
	f.running.cancel()
	<-f.running.ended
	f.running = nil
	f.set(nil, "")
}

// end stops the process and gives the ports back.
func (f *Front) end() {
	f.stop()
	if f.watched != nil {
		f.watched()
		f.watched = nil
	}
	f.ports.close()
	f.of = front{}
	f.set(nil, "")
}

func (f *Front) set(state func() queueproc.State, refused string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.refused = state, refused
}

// now returns how the process is; its zero value where none runs.
func (f *Front) now() (is queueproc.State) {
	f.mu.Lock()
	state, refused := f.state, f.refused
	f.mu.Unlock()
	if state != nil {
		is = state()
	}
	is.Problem = cmp.Or(is.Problem, refused)
	return is
}

// Problem returns why programs of this node do not get to the queue, in one sentence; empty: they do, or there is none.
func (f *Front) Problem() string {
	if text := f.ports.unserved(); text != "" {
		return text
	}
	is := f.now()
	switch {
	case is.Problem != "":
		return unreached + is.Problem
	case is.Engine != "":
		return unreached + is.Engine
	}
	return ""
}

// Fitness returns what other nodes hear of it: whether services here may be told of the queue by the name that is
// right on every node.
func (f *Front) Fitness() string {
	if f.ports.unserved() != "" || f.now().Problem != "" || len(bridgeAddrs()) == 0 {
		return gossip.QueueAway
	}
	return gossip.QueueHere
}
