package front

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
)

// Options say where clients come in and which engine they get to.
type Options struct {
	Addr     string // host:port; port 0 picks one. Required
	Password string // of the user "default", that clients give. Required

	// MaxMemory bounds the memory for clients, in bytes; 0 is no bound. A quarter is for large buffers and one for
	// requests that are read whole; how many clients there may be follows from it too.
	MaxMemory int64

	// Listen is as the embedded queue's.
	Listen func(addr string) (net.Listener, error)

	Engine   Engine
	Rewriter Rewriter      // nil: commands are passed on as they are
	Patience time.Duration // how long a command waits for an engine that is gone; default 2 s

	// Unrestricted passes everything on to the engine that is not about logging in: for the engine's own tests.
	Unrestricted bool
}

// Engine is the server that the clients get to.
type Engine struct {
	Name string // where it is, for people
	// Dial connects to it, with TLS where it wants that. Required. Many goroutines call it.
	Dial     func(ctx context.Context) (net.Conn, error)
	User     string // empty: "default"
	Password string // empty: none
	DB       int    // that clients begin in
	// Front is set where the engine may be another front, which leaves the commands of this one as they are and has
	// clients begin in DB.
	Front bool
	// Advice is what people read where it can't be used.
	Advice Advice
}

// Advice says what to do about an engine, as who runs it has to. It goes behind what is wrong.
type Advice struct {
	Away    string // it can't be reached; empty: "start it, or correct its address"
	Login   string // where user and password are from, such as "in queue.url"; may be empty
	Refused string // it takes no user and password, or wants one; empty: "correct them"
}

func (o Options) validate() error {
	switch {
	case o.Addr == "":
		return errors.New("queue: no address to listen on: set it to host:port")
	case o.Password == "":
		return errors.New("queue: no password: set one, the queue does not run without")
	case o.Engine.Dial == nil:
		return errors.New("queue: no engine: say how to reach one")
	}
	return nil
}

// Server is the front.
type Server struct {
	opts      Options
	log       *slog.Logger
	passwords *admission.Passwords
	door      *admission.Door
	memory    *admission.Memory
	buffers   *buffers
	engine    *engine
	commands  map[string]*command

	ready   chan struct{}
	addr    atomic.Pointer[net.TCPAddr]
	passed  atomic.Uint64 // commands so far
	cutOffs rate.Sometimes
}

// New checks the options; nothing is opened before Run.
func New(opts Options, log *slog.Logger) (*Server, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if opts.Listen == nil {
		opts.Listen = func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	}
	opts.Patience = cmp.Or(opts.Patience, 2*time.Second)
	return &Server{
		opts:      opts,
		log:       log,
		passwords: admission.NewPasswords(opts.Password, log),
		door:      admission.NewDoor(opts.MaxMemory, log),
		memory:    admission.NewMemory(opts.MaxMemory / 4),
		buffers:   newBuffers(opts.MaxMemory / 4),
		engine:    newEngine(opts.Engine, opts.Rewriter, log),
		commands:  tableOf(opts),
		ready:     make(chan struct{}),
		cutOffs:   rate.Sometimes{Interval: time.Minute},
	}, nil
}

// SetEngine has another engine take the place of the one before. To clients it is as if the engine before was gone and
// is there again.
func (s *Server) SetEngine(e Engine) { s.engine.set(e) }

// Ready returns a channel that is closed once clients are let in, whether or not the engine is there.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr returns the host:port that clients are served at, "" before Ready.
func (s *Server) Addr() string {
	if addr := s.addr.Load(); addr != nil {
		return addr.String()
	}
	return ""
}

// Progress is how the front and its engine are doing.
type Progress struct {
	Commands uint64 // passed on so far
	Clients  int64
	Problem  string // why the engine can't be used, where and what to do; one line, empty if it can
	Keys     int64  // of the engine's database that clients begin in, where it says so
	Memory   int64  // bytes of data, as the engine says
	Bound    int64  // bytes that data may take; 0: no bound
}

// Progress tells how they are doing, without waiting for anything.
func (s *Server) Progress() Progress {
	p := s.engine.progress()
	p.Commands, p.Clients = s.passed.Load(), s.door.Open.Load()
	return p
}

// Run serves clients until ctx ends. It returns the error of listening when the port is taken. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	listener, err := s.opts.Listen(s.opts.Addr)
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	defer listener.Close()
	at, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("queue: listen on %s: %s is not an address of TCP", s.opts.Addr, listener.Addr())
	}
	s.addr.Store(at)
	defer context.AfterFunc(ctx, func() { listener.Close() })()

	var group sync.WaitGroup
	group.Go(func() { s.passwords.Tidy(ctx) })
	group.Go(func() { s.engine.watch(ctx) })
	group.Go(func() {
		s.door.Accept(ctx, listener, &group, func(ctx context.Context, client net.Conn, welcome func()) {
			s.newSession(client, welcome).serve(ctx)
		})
	})
	close(s.ready)
	group.Wait()
	return nil
}

// tellCutOff logs, once a minute at most, that a client was cut off.
func (s *Server) tellCutOff(client net.Addr) {
	s.cutOffs.Do(func() {
		s.log.Warn("a client was cut off: what it sends takes more of the memory than there is for clients; others "+
			"may have been within the same minute", "client", client, "bytes", s.memory.Most())
	})
}
