package queueproc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/crawlbox/crawlbox/appliance/guard"
	"github.com/crawlbox/crawlbox/appliance/sandbox"
	"github.com/crawlbox/crawlbox/embedded/queue"
	"github.com/crawlbox/crawlbox/embedded/queue/front"
)

// Command is the hidden command of crawlbox that is Main.
const Command = "queue-process"

const (
	// stopLimit is how long the process may take to answer clients and write down what
	// they did, once it is told to end. The manager waits a little longer.
	stopLimit = 8 * time.Second

	// openFiles are more than the clients that the queue serves.
	openFiles = 1 << 16

	// Beside what it counts, the process has a heap that is not collected yet, a
	// journal that is rewritten, and Go's own. These are bounds for what goes wrong.
	memoryFactor = 3
	memorySpare  = 512 << 20
)

// Main is the process. It returns when the manager says so or is gone, and an error
// when it cannot go on, which it has told the manager then.
func Main(log *slog.Logger) error {
	// A terminal and systemd signal the manager too, which says when to stop.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	c, err := inherit()
	if err != nil {
		log.Error("the manager starts this command, nobody else", "error", err)
		return err
	}
	err = c.run()
	if err != nil {
		_ = c.out.write(report{Failed: newFailure(err)})
	}
	return err
}

// child is the process's side.
type child struct {
	listeners []*os.File
	directory *os.File
	out       lineWriter
	log       *slog.Logger
	orders    chan order // closed when the manager is gone

	connections *os.File // to the engine come over it, or pairs of sockets within the process
	connector   *connector
	trusted     *x509.CertPool // whom this machine trusts, where the engine's certificate may be of one of them
	asking      *os.File       // questions about containers go over it

	certificate atomic.Pointer[tls.Certificate] // nil: no TLS
}

func inherit() (*child, error) {
	control := os.NewFile(controlFD, "control socket")
	defer control.Close()
	conn, err := net.FileConn(control)
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	c := &child{
		directory: os.NewFile(directoryFD, "directory"),
		out:       lineWriter{w: conn},
		orders:    make(chan order),
	}
	c.log = slog.New(slog.NewJSONHandler(logRelay{&c.out}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go readLines(conn, c.orders)
	return c, nil
}

func (c *child) run() error {
	first, ok := <-c.orders
	if !ok || first.Settings == nil {
		return errors.New("no settings came from the manager")
	}
	set := *first.Settings
	for i := range set.Listeners {
		c.listeners = append(c.listeners, os.NewFile(listenerFD+uintptr(i), "listener"))
	}
	c.takeSockets(set)
	c.trust(set.Engine)
	if err := c.confine(set); err != nil {
		return err
	}
	if err := c.setCertificate(first.TLS); err != nil {
		return err
	}
	server, err := c.newServer(set)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go c.followOrders(ctx, server, cancel)
	go c.reportProgress(ctx, server)
	return server.Run(ctx)
}

// takeSockets takes those that are there with an engine, and with leases.
func (c *child) takeSockets(set settings) {
	next := listenerFD + uintptr(set.Listeners)
	if set.Engine != nil || set.Leases != nil {
		c.connections = os.NewFile(next, "socket for connections")
		next++
	}
	if set.Leases != nil {
		c.asking = os.NewFile(next, "socket for questions")
	}
}

// trust takes the authorities that this machine trusts where one of them has signed an engine's certificate: their
// files are out of sight later.
func (c *child) trust(e *Engine) {
	c.trusted = x509.NewCertPool() // then none is trusted, and the engine's certificate is refused
	if e == nil || e.Host == "" || e.CA != "" {
		return
	}
	if roots, err := x509.SystemCertPool(); err == nil {
		c.trusted = roots
	}
}

// engineOf returns an engine as the front knows it.
func (c *child) engineOf(e Engine) front.Engine {
	roots := c.trusted
	if e.CA != "" {
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(e.CA))
	}
	var own []tls.Certificate
	if pair, err := tls.X509KeyPair([]byte(e.Certificate), []byte(e.Key)); err == nil {
		own = append(own, pair)
	}
	return front.Engine{
		Name:     e.Name,
		Dial:     c.connector.dial(e.Host, roots, own),
		User:     e.User,
		Password: e.Password,
		DB:       e.DB,
		Front:    e.Front,
		Advice:   e.advice(),
	}
}

// server is the queue, or a front of it.
type server interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

func (c *child) newServer(set settings) (_ server, err error) {
	to := front.Options{
		Addr:      "inherited",
		Password:  set.Password,
		MaxMemory: set.MaxMemory,
		Listen:    c.listen,
	}
	if c.connections != nil {
		if c.connector, err = newConnector(c.connections); err != nil {
			return nil, err
		}
	}
	if e := set.Engine; e != nil {
		to.Engine = c.engineOf(*e)
		return c.newFront(set, to, nil)
	}
	opts := queue.Options{
		Addr:      "inherited",
		Password:  set.Password,
		Dir:       ".",
		MaxMemory: set.MaxMemory,
		Listen:    c.listen,
	}
	if set.Leases == nil {
		return queue.New(opts, c.log)
	}
	in := newInside(c.connector)
	opts.Listen, opts.Fronted = func(string) (net.Listener, error) { return in, nil }, true
	own, err := queue.New(opts, c.log)
	if err != nil {
		return nil, err
	}
	to.MaxMemory /= 2 // beside that of the engine
	to.Engine = front.Engine{Name: "this process", Dial: in.dial, Password: set.Password}
	return c.newFront(set, to, own)
}

// progress returns how a server is doing, and why its engine can't be used.
func progress(s server) (p queue.Progress, engine string) {
	switch s := s.(type) {
	case *queue.Server:
		return s.Progress(), ""
	case *fronted:
		return s.progress()
	}
	return p, ""
}

// confine goes into the sandbox, for good.
func (c *child) confine(set settings) error {
	opts := sandbox.Options{Dir: c.directory, UID: set.UID, GID: set.GID, Files: openFiles}
	if set.MaxMemory > 0 {
		opts.Memory = uint64(memoryFactor*set.MaxMemory + memorySpare)
	}
	queue.Tune(set.MaxMemory)
	missing := sandbox.Confine(opts)
	c.directory.Close()
	if err := c.out.write(report{Confined: &confined{missing}}); err != nil {
		return err
	}
	for _, m := range missing {
		if set.Whole && m.Essential() {
			return errors.New(m.String())
		}
	}
	return nil
}

// setCertificate takes a certificate into use, for the next handshake.
func (c *child) setCertificate(pair *KeyPair) error {
	if pair == nil {
		return nil
	}
	cert, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return fmt.Errorf("use the certificate: %w", err)
	}
	c.certificate.Store(&cert)
	return nil
}

// listen makes a listener of the inherited sockets, each time that the queue opens it.
// Strangers are bounded beneath TLS: the handshake is theirs.
func (c *child) listen(string) (net.Listener, error) {
	var guarded []net.Listener
	for _, file := range c.listeners {
		ln, err := net.FileListener(file)
		if err != nil {
			return nil, fmt.Errorf("open the inherited socket: %w", err)
		}
		guarded = append(guarded, guard.New(ln, limits(ln.Addr())))
	}
	ln := join(guarded)
	if c.certificate.Load() == nil {
		return ln, nil
	}
	return tls.NewListener(ln, &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.certificate.Load(), nil },
	}), nil
}

// limits returns those of strangers at an address of this machine. On loopback all have one
// address. All clients are one party; the queue bounds them.
func limits(at net.Addr) guard.Limits {
	l := guard.Limits{PerParty: math.MaxInt}
	if tcp, ok := at.(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		l.Strangers, l.PerAddr = localStrangers, localStrangers
	}
	return l
}

// localStrangers may be connected on loopback at a time.
const localStrangers = 4096

// followOrders does what the manager says, until it is gone: then the queue has to end, well
// if it can, and the port is another's at once.
func (c *child) followOrders(ctx context.Context, s server, stop func()) {
	for o := range c.orders {
		if f, ok := s.(*fronted); ok && o.Engine != nil {
			f.setEngine(c.engineOf(*o.Engine))
		} else if ok && o.Up != nil {
			go f.up(ctx, o.Up)
		}
		if err := c.setCertificate(o.TLS); err != nil {
			c.log.Error("the queue goes on with the certificate that it has", "error", err)
		}
	}
	for _, file := range c.listeners {
		file.Close()
	}
	stop()
	time.AfterFunc(stopLimit, func() { os.Exit(1) })
}

// reportProgress reports how the queue gets on, beginning before it has read its journal.
func (c *child) reportProgress(ctx context.Context, server server) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	ready := server.Ready()
	for {
		p, engine := progress(server)
		_ = c.out.write(report{Progress: &p, Engine: engine}) // the manager is gone: followOrders sees to it
		select {
		case <-ready:
			_ = c.out.write(report{Ready: true})
			ready = nil
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// logRelay takes lines of slog's JSON.
type logRelay struct{ out *lineWriter }

func (r logRelay) Write(line []byte) (int, error) {
	if err := r.out.write(report{Log: line}); err != nil {
		return 0, err
	}
	return len(line), nil
}
