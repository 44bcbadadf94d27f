// Package lab runs several real servers on one machine, for tests and
// benchmarks: each host has its own network card, host name, processes, /etc,
// /run and /var/lib, and a real dockerd at its default paths. No Docker is
// faked, so what holds in the lab holds on servers.
//
//	l := lab.New(t)
//	hosts := l.AddHosts(3)
//	hosts[0].MustExec("docker", "swarm", "init", "--advertise-addr", hosts[0].IP().String())
//	hosts[2].Cut()
//
// # How a host is made
//
// A host is one bash process in fresh network, mount, PID and UTS namespaces,
// and everything on the host is a descendant of it. Its standard input is a
// pipe that the test process holds: when the test ends, however it ends, bash
// reads end of file and exits, and the kernel then kills all else in its PID
// namespace, containers whose dockerd is gone included. Mounts and network
// cards live in the namespaces and vanish with them. So nothing outlives a test
// but a directory and empty cgroups, and Sweep removes those of owners that died.
//
// The hosts hang on a bridge that has a network namespace of its own: in the
// machine's namespace a dockerd would set the FORWARD policy to DROP. There is
// no default route and resolv.conf is empty, so a look-up of a public registry
// fails at once. The other directories, /tmp among them, are shared with the
// machine, which is how a test hands a build context to a host.
//
// A host made with Systemd or Release boots a whole Debian or Ubuntu with systemd
// in the same frame, and answers to the same verbs; it shares no directory with the
// machine. Its files lie in two layers in the cache, the bare system and what the
// installation of Docker changes, below the host's own changes.
//
// # Rules of use
//
// Methods that fail the test (all but those that return an error or a Result)
// must be called from the goroutine of the test. Exec, DialContext, WaitFor and
// the methods of Proc that return errors may be called from any goroutine.
package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// verbTimeout bounds every verb that takes no context. It is generous: two
// cores may carry fifty Docker Engines.
const verbTimeout = 2 * time.Minute

// Lab is a set of hosts on one bridge. Its zero value is not usable; see New.
type Lab struct {
	t      frame.TB
	dir    string // also the lab's name: crawlbox-lab-NUMBER
	owner  *os.File
	bridge *frame.Frame
	heard  func(args []string, r Result)

	mu    sync.Mutex
	hosts []*Host
}

// New makes an empty lab that is removed when the test ends. It first removes
// what owners that died have left. Labs of several processes may run at once:
// each has a bridge and addresses of its own.
//
// It fails the test where the machine lacks something, and says what.
func New(t frame.TB) *Lab {
	t.Helper()
	if err := frame.CheckMachine(); err != nil {
		t.Fatalf("lab: %v", err)
	}
	l, err := open(t)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	t.Cleanup(l.close)
	if l.bridge, err = startBridge(l.dir); err != nil {
		t.Fatalf("lab: start bridge: %v", err)
	}
	return l
}

func open(t frame.TB) (*Lab, error) {
	frame.RaiseLimits(t)
	dir, owner, err := frame.NewDirectory(t)
	if err != nil {
		return nil, err
	}
	return &Lab{t: t, dir: dir, owner: owner}, os.Mkdir(filepath.Join(dir, "bin"), 0o755)
}

// Hear has fn called with each command that a test runs on a host with Exec, and what came of it. It
// must be called before there are hosts; fn may be called from any goroutine.
func (l *Lab) Hear(fn func(args []string, r Result)) { l.heard = fn }

// Dir returns the lab's directory; each host keeps its files and logs in a directory
// below it.
func (l *Lab) Dir() string { return l.dir }

// Hosts returns the hosts added so far.
func (l *Lab) Hosts() []*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Host(nil), l.hosts...)
}

// AddHost adds one host and returns when it is up: for a host with Docker, when
// its engine answers.
func (l *Lab) AddHost(opts ...HostOption) *Host {
	l.t.Helper()
	return l.AddHosts(1, opts...)[0]
}

// AddHosts adds n hosts with the same options at the same time.
func (l *Lab) AddHosts(n int, opts ...HostOption) []*Host {
	l.t.Helper()
	hosts := l.register(n, opts)
	ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
	defer cancel()
	if err := each(hosts, func(h *Host) error { return h.powerOn(ctx) }); err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	return hosts
}

func (l *Lab) register(n int, opts []HostOption) []*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := len(l.hosts)
	for i := range n {
		l.hosts = append(l.hosts, newHost(l, first+i+1, opts))
	}
	return append([]*Host(nil), l.hosts[first:]...)
}

// Install puts a program on the PATH of all hosts, present and future, under
// the base name of path.
func (l *Lab) Install(path string) {
	l.t.Helper()
	to := filepath.Join(l.dir, "bin", filepath.Base(path))
	if err := linkOrCopy(path, to); err != nil {
		l.t.Fatalf("lab: install %s: %v", path, err)
	}
}

// close ends all hosts and removes the lab. What can't be removed now stays for
// Sweep.
func (l *Lab) close() {
	l.reportLogs()
	hosts := l.Hosts()
	err := each(hosts, (*Host).powerOff)
	_ = l.bridge.Stop()
	if err == nil {
		err = frame.RemoveLab(l.dir)
	}
	l.owner.Close()
	if err != nil {
		l.t.Logf("lab: clean up: %v", err)
	}
}

// each runs f for all hosts at once. It returns the first error, after all have
// returned.
func each(hosts []*Host, f func(*Host) error) error {
	var g errgroup.Group
	for _, h := range hosts {
		g.Go(func() error {
			if err := f(h); err != nil {
				return fmt.Errorf("host %s: %w", h.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}
