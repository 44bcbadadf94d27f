package lab_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

func TestNew_SaysWhatTheMachineLacks(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := record(func(r *recorder) { lab.New(r) })
	if !strings.Contains(r.fatal, "lacks bash, ip, mount, iptables, containerd, dockerd, docker: .ci/deps "+
		"installs it") {
		t.Errorf("without tools New fails with %q", r.fatal)
	}
}

func TestAddHost_DockerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	var dir string
	r := record(func(r *recorder) {
		l := lab.New(r)
		dir = l.Dir()
		l.AddHost(lab.DockerFlags("--no-such-flag"))
	})
	if !strings.Contains(r.fatal, "host h1: start dockerd: ") {
		t.Errorf("it fails with %q", r.fatal)
	}
	if log := strings.Join(r.lines, "\n"); !strings.Contains(log, "end of dockerd's log") ||
		!strings.Contains(log, "--no-such-flag") {
		t.Errorf("the failure does not show dockerd's log but\n%s", log)
	}
	if err := leftovers(dir); err != nil {
		t.Error(err)
	}
}

func TestAddHost_UnknownRelease(t *testing.T) {
	t.Parallel()
	r := record(func(r *recorder) { lab.New(r).AddHost(lab.Release("potato")) })
	if !strings.Contains(r.fatal, `the lab has no release "potato", only bookworm, `) {
		t.Errorf("it fails with %q", r.fatal)
	}
}

// TestAddHost_EnvRelease wants the variable to have the last word.
func TestAddHost_EnvRelease(t *testing.T) {
	t.Setenv(lab.EnvRelease, "potato")
	r := record(func(r *recorder) { lab.New(r).AddHost(lab.Release("bookworm")) })
	if !strings.Contains(r.fatal, `the lab has no release "potato"`) {
		t.Errorf("it fails with %q", r.fatal)
	}
	t.Setenv(lab.EnvRelease, "trixie")
	h := lab.New(t).AddHost(lab.WithoutDocker())
	if name := h.ReadFile("/usr/lib/os-release"); !strings.Contains(name, "VERSION_CODENAME=trixie") {
		t.Errorf("the host has the programs of %s", name)
	}
	if version := h.MustExec("dockerd", "--version") + h.Docker("--version"); strings.Count(version,
		"version 26.1") != 2 {
		t.Errorf("its Docker is %s", version)
	}
	h.MustExec("git", "--version")
}

func TestHost_SwitchedOffIsNotEntered(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h := l.AddHost(lab.WithoutDocker())
	h.PowerOff()
	if r := h.Exec(t.Context(), "hostname"); r.Code != -1 || !strings.Contains(r.Stderr, "host is down") {
		t.Errorf("hostname on a host that is off: %+v", r)
	}
	if _, err := h.DialContext(t.Context(), "tcp", "127.0.0.1:1"); err == nil ||
		!strings.Contains(err.Error(), "host is down") {
		t.Errorf("dial from a host that is off: %v", err)
	}
}

func TestWaitFor_ReportsLastError(t *testing.T) {
	t.Parallel()
	looks := 0
	r := record(func(r *recorder) {
		lab.WaitFor(r, 60*time.Millisecond, "the moon", func() error {
			looks++
			return fmt.Errorf("look %d: clouds", looks)
		})
	})
	if want := fmt.Sprintf("waited 60ms for the moon: look %d: clouds", looks); r.fatal != want || looks < 2 {
		t.Errorf("got %q, want %q", r.fatal, want)
	}
	lab.WaitFor(t, 0, "what is there", func() error { return nil })
	if err := (lab.Result{}).Err(); err != nil {
		t.Errorf("exit code 0 is %v", err)
	}
}

// recorder is a test that is meant to fail.
type recorder struct {
	fatal    string
	lines    []string
	cleanups []func()
}

// record runs f as a test would be, clean-up included.
func record(f func(*recorder)) *recorder {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, cleanup := range slices.Backward(r.cleanups) {
				cleanup()
			}
		}()
		f(r)
	}()
	<-done
	return r
}

func (r *recorder) Helper()          {}
func (r *recorder) Name() string     { return "recorder" }
func (r *recorder) Failed() bool     { return r.fatal != "" }
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Logf(format string, a ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, a...))
}
func (r *recorder) Fatalf(format string, a ...any) {
	r.fatal = fmt.Sprintf(format, a...)
	runtime.Goexit()
}
