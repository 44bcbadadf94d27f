package queueproc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/sandbox"
)

// self is this program, also after an upgrade has put another in its place.
const self = "/proc/self/exe"

// process is the manager's side of one process.
type process struct {
	cmd     *exec.Cmd
	control *net.UnixConn
	orders  lineWriter
	output  firstBytes
	reports chan report   // closed when it says no more
	exited  chan struct{} // closed when it has ended, and err is set
	err     error
}

// start starts the process, in the sandbox's namespaces, and gives it its settings.
func (s *Supervisor) start(directory *os.File, who account) (*process, error) {
	ours, theirs, err := socketPair(unix.SOCK_STREAM)
	if err != nil {
		return nil, fmt.Errorf("open a control socket: %w", err)
	}
	defer theirs.Close()
	listeners := s.files()
	passed := append([]*os.File{theirs, directory}, listeners...)
	engine, asking, err := s.openDials()
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("open a socket for connections: %w", err)
	}
	if asking != nil {
		defer asking.Close()
		passed = append(passed, asking)
	}
	questions, err := s.openQuestions()
	if err != nil {
		ours.Close()
		engine.close()
		return nil, fmt.Errorf("open a socket for questions: %w", err)
	}
	if questions != nil {
		defer questions.Close()
		passed = append(passed, questions)
	}
	p := &process{control: ours, orders: lineWriter{w: ours}, reports: make(chan report), exited: make(chan struct{})}
	p.cmd = exec.Command(self, Command)
	p.cmd.Args[0] = os.Args[0]
	p.cmd.Env = append([]string{"GOTRACEBACK=single"}, s.opts.Env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.ExtraFiles = passed
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	s.isolation.Apply(p.cmd.SysProcAttr, who.uid, who.gid)
	if err := p.cmd.Start(); err != nil {
		ours.Close()
		engine.close()
		return nil, fmt.Errorf("start the queue's process: %w", err)
	}
	go p.wait(engine)
	go engine.serve()
	go readLines(ours, p.reports)
	return p, s.sendSettings(p, who, len(listeners))
}

// sendSettings gives the process its settings. A process that does not take them ends, which
// is seen then.
func (s *Supervisor) sendSettings(p *process, who account, listeners int) error {
	first := order{Settings: &settings{
		Password:  s.opts.Password,
		MaxMemory: s.opts.MaxMemory,
		Listeners: listeners,
		Engine:    s.engineNow(),
		Leases:    s.opts.Leases,
		UID:       who.uid,
		GID:       who.gid,
		Whole:     s.isolation != sandbox.None,
	}}
	if s.opts.TLS != nil {
		pair, err := s.opts.TLS()
		if err != nil {
			p.stop(0)
			return fmt.Errorf("issue the queue's certificate: %w", err)
		}
		first.TLS = &pair
	}
	_ = p.orders.write(first)
	return nil
}

func (p *process) wait(d *dials) {
	defer close(p.exited)
	defer d.close()
	p.err = p.cmd.Wait()
	_ = p.control.SetReadDeadline(time.Now().Add(tick)) // what it has said is there already
}

// stop ends the process: it is asked to, and killed after a while. It returns when it
// has ended.
func (p *process) stop(patience time.Duration) {
	_ = p.control.CloseWrite()
	timer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	for range p.reports { // a process that can't say a word does not end
	}
	<-p.exited
	p.control.Close()
}

// ending says how a process ended that was not told to.
func (p *process) ending() error {
	<-p.exited
	said := printable(strings.TrimSpace(p.output.String()))
	exit, ok := errors.AsType[*exec.ExitError](p.err)
	if !ok {
		return errors.Join(errors.New("its process ended by itself"), p.err)
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	switch {
	case strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory"):
		return errors.New("its process needs more memory than queue.max_memory lets it have; raise that in the config")
	case status.Signaled() && status.Signal() == unix.SIGKILL:
		return errors.New("its process was killed, by a person or because the machine has no memory left; `dmesg` " +
			"says which, and a lower queue.max_memory leaves more to others")
	case status.Signaled():
		return fmt.Errorf("its process was ended by the signal %s: %s", status.Signal(), said)
	}
	return fmt.Errorf("its process ended with code %d: %s", status.ExitStatus(), said)
}

func socketPair(kind int) (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	near, theirs := os.NewFile(uintptr(fds[0]), "control socket"), os.NewFile(uintptr(fds[1]), "control socket")
	defer near.Close()
	conn, err := net.FileConn(near)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}

// firstBytes keeps the beginning of what a process writes: there Go says what it ends by.
type firstBytes struct {
	mu   sync.Mutex
	text []byte
}

func (h *firstBytes) Write(p []byte) (int, error) {
	const most = 500
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, p[:min(len(p), most-len(h.text))]...)
	return len(p), nil
}

func (h *firstBytes) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.text)
}
