package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) != "" {
		ownLabUntilKilled()
	}
	testenv.RootForAll()
	os.Exit(m.Run())
}

func TestSwarm_ThreeHosts(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	started := time.Now()
	hosts := l.AddHosts(3)
	t.Logf("3 hosts up after %s", time.Since(started).Round(time.Millisecond))

	formSwarm(hosts)
	lab.WaitFor(t, 20*time.Second, "three ready nodes", func() error {
		names := hosts[0].Docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}")
		for _, h := range hosts {
			if !strings.Contains(names, h.Name()+" Ready") {
				return fmt.Errorf("nodes are:\n%s", names)
			}
		}
		return nil
	})

	for _, h := range hosts {
		h.Load(artifact.TinyImage(t, "tiny:0.01", 0))
	}
	hosts[0].Docker("service", "create", "--detach", "--name=tiny", "--replicas=6", "--network=host",
		"--no-resolve-image", "tiny:0.01")
	for _, h := range hosts {
		lab.WaitFor(t, 30*time.Second, "two tasks on "+h.Name(), func() error {
			return expect(h.Docker("ps", "--format={{.Image}}"), "tiny:0.01\ntiny:0.01")
		})
	}
}

func TestCable_CutAndHealed(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	hosts := l.AddHosts(2, lab.WithoutDocker())
	reach := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		conn, err := hosts[0].DialContext(ctx, "tcp", hosts[1].At(9))
		if err == nil {
			conn.Close()
		}
		return err
	}
	// Nobody listens there: a refusal is an answer, a timeout is none.
	answered := func(err error) bool { return err != nil && strings.Contains(err.Error(), "connection refused") }

	if err := reach(3 * time.Second); !answered(err) {
		t.Fatalf("before the cut: %v", err)
	}
	hosts[1].Cut()
	if err := reach(300 * time.Millisecond); !os.IsTimeout(err) {
		t.Fatalf("after the cut: %v, want a time-out", err)
	}
	hosts[1].Heal()
	if err := reach(5 * time.Second); !answered(err) {
		t.Fatalf("after the cable is back: %v", err)
	}
}

func TestHost_Addresses(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	six, both := l.AddHost(lab.WithoutDocker(), lab.IPv6()), l.AddHost(lab.WithoutDocker(), lab.DualStack())
	four := l.AddHost(lab.WithoutDocker())
	// Nobody listens there: a refusal is an answer.
	reach := func(from *lab.Host, to netip.Addr) error {
		conn, err := from.DialContext(t.Context(), "tcp", netip.AddrPortFrom(to, 9).String())
		if err == nil {
			conn.Close()
		}
		if err != nil && strings.Contains(err.Error(), "connection refused") {
			return nil
		}
		return err
	}
	for _, err := range []error{
		reach(six, both.IP6()), reach(both, six.IP()), reach(both, four.IP()), reach(four, both.IP()),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if reach(six, four.IP()) == nil || four.IP6().IsValid() || six.IP() != six.IP6() {
		t.Errorf("a host with IPv6 alone is at %s, and reaches %s", six.IP(), four.IP())
	}

	was, is := four.IP(), netip.MustParseAddr("10.99.200.1")
	four.Renumber(is)
	if err := reach(both, is); err != nil || four.IP() != is || strings.Contains(four.MustExec("ip", "addr"),
		was.String()) {
		t.Errorf("another address: %v\n%s", err, four.MustExec("ip", "addr"))
	}
	four.PowerOff()
	four.Renumber(was)
	four.PowerOn()
	if err := reach(both, was); err != nil {
		t.Error(err)
	}
}

func TestHost_LimitedCard(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h := l.AddHost(lab.WithoutDocker(), lab.Rate("100mbit"))
	if got := h.MustExec("tc", "qdisc", "show", "dev", "eth0"); !strings.Contains(got, "rate 100Mbit") {
		t.Errorf("the card's queue is %q", got)
	}
}

func TestHost_HasItsOwnState(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.AddHost(lab.WithoutDocker(), lab.Hostname("twin"))
	b := l.AddHost(lab.WithoutDocker(), lab.Hostname("twin"), lab.StateLimit("1m"))

	a.WriteFile("/etc/crawlbox/crawlbox.yaml", "a: 1\n")
	a.WriteFile("/var/lib/crawlbox/state", "of a")
	t.Run("names may be the same", func(t *testing.T) {
		if a.MustExec("hostname") != "twin" || b.MustExec("hostname") != "twin" {
			t.Error("host name is not twin on both")
		}
	})
	t.Run("files are not shared", func(t *testing.T) {
		for _, path := range []string{"/etc/crawlbox/crawlbox.yaml", "/var/lib/crawlbox/state"} {
			if code := b.Exec(t.Context(), "test", "-e", path).Code; code != 1 {
				t.Errorf("test -e %s on the other host: exit code %d", path, code)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s on the machine: %v", path, err)
			}
		}
	})
	t.Run("the disk can be full", func(t *testing.T) {
		r := b.Exec(t.Context(), "dd", "if=/dev/zero", "of=/var/lib/crawlbox/big", "bs=64k", "count=32")
		if !strings.Contains(r.Stderr, "No space left on device") {
			t.Errorf("dd: %+v", r)
		}
	})
	t.Run("a power cut leaves the disk", func(t *testing.T) {
		p := a.Start("sleeper", "sleep", "infinity")
		a.PowerOff()
		<-p.Done()
		a.PowerOn()
		if got := a.ReadFile("/etc/crawlbox/crawlbox.yaml") + a.ReadFile(
			"/var/lib/crawlbox/state"); got != "a: 1\nof a" {
			t.Errorf("after the power cut: %q", got)
		}
	})
}

func TestExec_Results(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h := l.AddHost(lab.WithoutDocker())

	r := h.Exec(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 3")
	if r != (lab.Result{Stdout: "out\n", Stderr: "err\n", Code: 3}) {
		t.Errorf("exit 3 is %+v", r)
	}
	if r := h.Exec(t.Context(), "no-such-program"); r.Code != 127 || r.Err() == nil {
		t.Errorf("a missing program is %+v", r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r := h.Exec(ctx, "sh", "-c", "sleep 60; true"); r.Code != -1 || r.Stderr == "" {
		t.Errorf("a command out of time is %+v", r)
	}
	lab.WaitFor(t, 5*time.Second, "what a command out of time has started to be reaped", func() error {
		if left := h.Exec(t.Context(), "pgrep", "sleep"); left.Code != 1 {
			return fmt.Errorf("processes %q, %q", left.Stdout, left.Stderr)
		}
		return nil
	})
}

func TestProc_SignalsAndLogs(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	h := l.AddHost(lab.WithoutDocker())
	p := h.Start("trap", "sh", "-c", "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done")
	lab.WaitFor(t, 5*time.Second, "the trap to be set", func() error { return expect(p.Logs(), "ready\n") })
	if code, err := p.Stop(t.Context()); code != 7 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	if err := expect(p.Logs(), "ready\nbye\n"); err != nil {
		t.Error(err)
	}
}

func formSwarm(hosts []*lab.Host) {
	hosts[0].Docker("swarm", "init", "--advertise-addr", hosts[0].IP().String())
	token := hosts[0].Docker("swarm", "join-token", "--quiet", "worker")
	for _, h := range hosts[1:] {
		h.Docker("swarm", "join", "--token", token, hosts[0].At(2377))
	}
}

func expect(got, want string) error {
	if got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}
