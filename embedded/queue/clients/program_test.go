package clients_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// python is Debian's, which has Debian's packages; another may be first on PATH.
const python = "/usr/bin/python3"

// program describes what a test runs.
type program struct {
	name string
	args []string
	dir  string   // "" is the package's
	env  []string // beside the test's own

	// alone makes it the first process of a PID namespace, as in a container: all that it started ends with it, and
	// signals for which it has no handler do nothing.
	alone bool
}

// process is a program that runs, and its output.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // what Wait returned; after done

	mu      sync.Mutex
	out     bytes.Buffer
	changed chan struct{} // closed and made anew when out grows
}

// start runs a program with a process group of its own, which is killed when the test ends.
func start(t *testing.T, prog program) *process {
	t.Helper()
	p := &process{done: make(chan struct{}), changed: make(chan struct{})}
	p.cmd = exec.Command(prog.name, prog.args...)
	p.cmd.Dir = prog.dir
	p.cmd.Env = append(os.Environ(), "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")
	p.cmd.Env = append(p.cmd.Env, prog.env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if prog.alone {
		p.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	}
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", prog.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.kill)
	return p
}

// Write takes the process's output.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
	return p.out.Write(b)
}

func (p *process) output() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String(), p.changed
}

// signal sends a signal to the program, not to its children.
func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("send %v to %s: %v", sig, p.cmd, err)
	}
}

// kill ends the program and its children at once.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// waitFor waits until the output matches the pattern.
func (p *process) waitFor(t *testing.T, max time.Duration, pattern string) {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	timeout := time.After(max)
	for ended := false; ; {
		out, changed := p.output()
		if wanted.MatchString(out) {
			return
		}
		if ended {
			t.Fatalf("%s ended (%v) without %q:\n%s", p.cmd, p.err, pattern, tail(out))
		}
		select {
		case <-changed:
		case <-p.done:
			ended = true
		case <-timeout:
			t.Fatalf("%s: no %q in %v:\n%s", p.cmd, pattern, max, tail(out))
		}
	}
}

// finish waits until the program has ended and returns its output.
func (p *process) finish(t *testing.T, max time.Duration) (string, error) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(max):
		out, _ := p.output()
		t.Fatalf("%s did not end in %v:\n%s", p.cmd, max, tail(out))
	}
	out, _ := p.output()
	return out, p.err
}

// run runs a program that must end well.
func run(t *testing.T, max time.Duration, prog program) {
	t.Helper()
	p := start(t, prog)
	if out, err := p.finish(t, max); err != nil {
		t.Fatalf("%s: %v\n%s", p.cmd, err, tail(out))
	}
}

// tail returns the end of an output that is too long for a test's log.
func tail(out string) string {
	const most = 8 << 10
	return out[max(0, len(out)-most):]
}

// needPackage fails the test when Debian's package is missing, which a command shows.
func needPackage(t *testing.T, pkg, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(within(t, 30*time.Second), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s does not work here: run .ci/deps, or `apt-get install %s`: %v\n%s", pkg, pkg, err,
			tail(string(out)))
	}
}

// node returns a program of testdata/node, and installs what it requires.
func node(t *testing.T, script string, args ...string) program {
	t.Helper()
	needPackage(t, "npm", "npm", "--version")
	needPackage(t, "nodejs", "node", "-e",
		"if (parseInt(process.versions.node) < 20) throw 'version 20 or later is needed'")
	return program{
		name: "node",
		args: append([]string{"testdata/node/" + script}, args...),
		env:  []string{"NODE_PATH=" + artifact.NodeModules(t)},
	}
}
