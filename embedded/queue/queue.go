package queue

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

const (
	// redisVersion is what clients are told: the one whose commands are closest.
	redisVersion = "7.0.15"

	expirePause = 100 * time.Millisecond // between two looks for keys whose time has come
	expireBatch = 200                    // keys deleted at one look, which bounds the time it takes
	acceptPause = 100 * time.Millisecond // after a failed accept, such as too many open files
)

// errBroken says that the data in memory may differ from the journal.
var errBroken = errors.New("the data in memory can no longer be trusted")

// Options say where the queue listens and what it keeps where.
type Options struct {
	Addr     string // host:port; port 0 picks one. Required
	Password string // of the user "default". Required
	Dir      string // data folder, made with mode 0700. Required

	// Listen opens the TCP listener, again after damage in memory; nil means
	// net.Listen. Its connections may speak TLS, whose handshake is left to the
	// first Read. If one of them, or what its method NetConn returns, has a method
	// Admit(who string), that is called with "queue" once the client has logged in.
	Listen func(addr string) (net.Listener, error)

	MaxMemory int64 // bytes of data and clients; 0: no bound

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
		return errors.New("queue: no data folder: set one")
	case o.SyncInterval > maxSyncInterval:
		return fmt.Errorf("queue: sync interval %v is above %v: a crash would lose more than a second of writes", o.SyncInterval, maxSyncInterval)
	}
	return nil
}

const maxSyncInterval = 500 * time.Millisecond

func (o Options) journal() journal.Options {
	return journal.Options{SyncInterval: o.SyncInterval, RewriteSize: o.RewriteSize}
}

// Server is a queue.
type Server struct {
	opts      Options
	log       *slog.Logger
	password  [sha256.Size]byte // its hash, to compare in constant time
	attempts  *attempts
	strangers strangers

	ready   chan struct{}
	once    sync.Once
	addr    atomic.Pointer[net.TCPAddr]
	open    atomic.Int64 // connected clients
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
	return &Server{
		opts: opts, log: log, ready: make(chan struct{}),
		password: sha256.Sum256([]byte(opts.Password)), attempts: newAttempts(log),
	}, nil
}

// Ready is closed once clients are served.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr returns the host:port that clients are served at, "" before Ready.
func (s *Server) Addr() string {
	if addr := s.addr.Load(); addr != nil {
		return addr.String()
	}
	return ""
}

// Run loads what is on disk and serves until ctx ends; then everything is on
// disk. It returns a *journal.CorruptError when the data folder is damaged,
// the error of listening when the port is taken, or what kept the last writes
// from the disk. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	addr := s.opts.Addr
	for {
		err := s.serve(ctx, addr)
		if !errors.Is(err, errBroken) || ctx.Err() != nil {
			return err
		}
		addr = s.Addr()
	}
}

// serve is Run until the data in memory can no longer be trusted.
func (s *Server) serve(ctx context.Context, addr string) error {
	core, err := openCore(s.opts, s.log)
	if err != nil {
		return fmt.Errorf("open the queue: %w", err)
	}
	defer core.store.close()
	listener, err := s.listen(addr)
	if err != nil {
		return errors.Join(fmt.Errorf("queue: %w", err), core.journal.Close())
	}

	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	written := make(chan error, 1)
	go func() { written <- core.journal.Run(writing) }()

	s.once.Do(func() { close(s.ready) })
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
	group.Go(func() { s.accept(ctx, listener, core, &group) })
	group.Go(func() { s.expire(ctx, core) })
	group.Go(func() { s.attempts.tidy(ctx) })

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

func (s *Server) accept(ctx context.Context, listener net.Listener, core *core, group *sync.WaitGroup) {
	for {
		client, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				client.Close()
			}
			return
		}
		if err != nil {
			s.log.Warn("the queue could not accept a client", "error", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		ctx, end := context.WithCancel(ctx)
		leave := s.strangers.enter(end)
		group.Go(func() {
			defer end()
			defer leave()
			s.open.Add(1)
			defer s.open.Add(-1)
			s.newConn(client, core, leave).serve(ctx)
		})
	}
}

func (s *Server) newConn(client net.Conn, core *core, welcome func()) *conn {
	return &conn{
		net:     client,
		welcome: welcome,
		session: &session{server: s, core: core, id: s.clients.Add(1), from: source(client)},
		in:      bufio.NewReader(client),
		out:     bufio.NewWriter(client),
	}
}

// expire deletes keys whose time has come, so that they take no memory and
// waiting transactions learn of it though nobody asks for the key.
func (s *Server) expire(ctx context.Context, core *core) {
	ticker := time.NewTicker(expirePause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if core.journal.Err() == nil {
				core.expire()
			}
		}
	}
}
