package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// redisVersion is the version that clients are told: the one whose replies are given.
const redisVersion = "7.0.15"

// Options say where the queue listens and what it keeps where.
type Options struct {
	Addr     string // host:port; port 0 picks one. Required
	Password string // of the user "default". Required
	Dir      string // data directory, made with mode 0700. Required

	// MaxMemory bounds the memory for data and clients, in bytes; 0 is no bound. Three
	// quarters are for data, the rest for what clients leave waiting and for a reply.
	MaxMemory int64

	// Listen opens the TCP listener; nil means net.Listen. Its connections may speak TLS,
	// whose handshake is left to the first Read. If one of them, or what its method NetConn returns, has a method
	// Admit(who string), that is called with "queue" once the client has logged in.
	Listen func(addr string) (net.Listener, error)

	// Fronted says that a front alone connects, which bounds how many clients there are.
	Fronted bool

	SyncInterval time.Duration // pause between two syncs of the journal, at most 500 ms; default 200 ms
	RewriteSize  int64         // bytes of journal below which it is not rewritten; default 16 MiB
}

func (o Options) validate() error {
	switch {
	case o.Addr == "":
		return errors.New("queue: no address to listen on: set it to host:port")
	case o.Password == "":
		return errors.New("queue: no password: set one, the queue does not run without")
	case o.Dir == "":
		return errors.New("queue: no data directory: set one")
	case o.SyncInterval > maxSyncInterval:
		return fmt.Errorf("queue: sync interval %v is above %v: a crash would lose more than a second of writes",
			o.SyncInterval, maxSyncInterval)
	}
	return nil
}

const maxSyncInterval = 500 * time.Millisecond

// dataBound returns how many bytes the data may take.
func (o Options) dataBound() int64 { return o.MaxMemory / 4 * 3 }

func (o Options) journal() journal.Options {
	return journal.Options{SyncInterval: o.SyncInterval, RewriteSize: o.RewriteSize}
}

type Server struct {
	opts      Options
	log       *slog.Logger
	passwords *admission.Passwords
	door      *admission.Door

	memory  *admission.Memory
	cutOffs rate.Sometimes

	ready   chan struct{}
	core    atomic.Pointer[core]
	started time.Time
	addr    atomic.Pointer[net.TCPAddr]
	blocked atomic.Int64 // clients that wait for an item
	clients atomic.Int64 // clients so far, for their ids
}

// New checks the options; nothing is opened before Run.
func New(opts Options, log *slog.Logger) (*Server, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if opts.Listen == nil {
		opts.Listen = func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	}
	door := admission.NewDoor(opts.MaxMemory, log)
	if opts.Fronted {
		door = admission.NewInnerDoor(log)
	}
	return &Server{
		opts:      opts,
		log:       log,
		ready:     make(chan struct{}),
		started:   time.Now(),
		memory:    admission.NewMemory(opts.MaxMemory / 4),
		cutOffs:   rate.Sometimes{Interval: time.Minute},
		passwords: admission.NewPasswords(opts.Password, log),
		door:      door,
	}, nil
}

// Ready returns a channel that is closed once clients are served.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr returns the host:port that clients are served at, "" before Ready.
func (s *Server) Addr() string {
	if addr := s.addr.Load(); addr != nil {
		return addr.String()
	}
	return ""
}

// Tune sets the garbage collector of a process that is the queue's own: memory is
// dearer there than processor time. maxMemory is as in [Options].
func Tune(maxMemory int64) {
	debug.SetGCPercent(20)
	if maxMemory > 0 {
		debug.SetMemoryLimit(maxMemory + maxMemory/4)
	}
}

// Progress is how the queue is doing.
type Progress struct {
	Commands uint64        // done so far
	Busy     time.Duration // how long the command under way has taken; 0: there is none
	Keys     int64
	Memory   int64 // bytes of data, estimated
	Bound    int64 // bytes that data may take; 0: no bound
	NoDisk   bool  // writes are refused, since the journal cannot be written
	Clients  int64
}

// Progress tells how the queue is doing, without waiting for anything.
func (s *Server) Progress() Progress {
	p := Progress{Clients: s.door.Open.Load(), Bound: s.opts.dataBound()}
	if c := s.core.Load(); c != nil {
		p.NoDisk = c.journal.Err() != nil
		p.Commands, p.Keys, p.Memory = c.commands.Load(), c.keys.Load(), c.used.Load()
		if began := c.began.Load(); began != 0 {
			p.Busy = time.Since(time.Unix(0, began))
		}
	}
	return p
}

// Run loads what is on disk and serves until ctx ends; then everything is on
// disk. It returns a *journal.CorruptError when the data directory is damaged, the
// error of listening when the port is taken, what kept the last writes from the
// disk, or errBroken. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	core, err := openCore(s.opts, s.log)
	if err != nil {
		return fmt.Errorf("open the queue: %w", err)
	}
	listener, err := s.listen(s.opts.Addr)
	if err != nil {
		return errors.Join(fmt.Errorf("queue: %w", err), core.journal.Close())
	}

	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	written := make(chan error, 1)
	go func() { written <- core.journal.Run(writing) }()

	s.core.Store(core)
	close(s.ready)
	err = s.serveClients(ctx, listener, core)
	stopWriting() // after the last client is gone
	return errors.Join(err, <-written)
}

func (s *Server) listen(addr string) (net.Listener, error) {
	listener, err := s.opts.Listen(addr)
	if err != nil {
		return nil, err
	}
	at, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		listener.Close()
		return nil, fmt.Errorf("listen on %s: %s is not an address of TCP", addr, listener.Addr())
	}
	s.addr.Store(at)
	return listener, nil
}

// serveClients returns when all clients and everything else that could change
// data are gone: nil when ctx ended, errBroken when the core did.
func (s *Server) serveClients(ctx context.Context, listener net.Listener, core *core) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { listener.Close() })()

	var group sync.WaitGroup
	group.Go(func() {
		s.door.Accept(ctx, listener, &group, func(ctx context.Context, client net.Conn, welcome func()) {
			newConn(client, s.newSession(core, client), welcome).serve(ctx)
		})
	})
	group.Go(func() { core.expire(ctx) })
	group.Go(func() { s.passwords.Tidy(ctx) })

	var err error
	select {
	case <-ctx.Done():
	case <-core.broken:
		err = errBroken
	}
	cancel()
	group.Wait()
	return err
}

// tellCutOff logs, once a minute at most, that a client was cut off.
func (s *Server) tellCutOff(client string) {
	s.cutOffs.Do(func() {
		s.log.Warn("a client was cut off: what it sends, or does not read, takes more of the queue's memory than "+
			"there is for clients; others may have been within the same minute", "client", client, "bytes",
			s.memory.Most())
	})
}

func (s *Server) newSession(core *core, client net.Conn) *session {
	now := time.Now()
	n := &session{
		server: s,
		core:   core,
		id:     s.clients.Add(1),
		guest:  admission.NewGuest(client),
		addr:   client.RemoteAddr().String(),
		began:  now,
		last:   now,
	}
	n.length.Store(-1)
	n.c.Out.Limit = int(s.memory.Most())
	n.share = s.memory.Enter(func() {
		s.tellCutOff(n.addr)
		n.die()
	})
	n.out = newOutput(client, n.share, func() {
		s.tellCutOff(n.addr)
		n.dead.Store(true)
	})
	core.mu.Lock()
	defer core.mu.Unlock()
	core.sessions[n.id] = n
	return n
}
