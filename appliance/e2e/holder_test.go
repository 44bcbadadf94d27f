package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/holder"
	asking "github.com/crawlbox/crawlbox/appliance/holder/ask"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
)

// holderEnv makes of this test's program one that runs on a host and says of each client of its port who it is
// and how it ended, as the queue asks its node.
const holderEnv = "CRAWLBOX_E2E_HOLDER"

const holderPort = 7899

// told is a line of that program.
type told struct {
	Case   string
	Found  bool
	Holder *asking.Holder `json:",omitempty"`
	Ending *asking.Ending `json:",omitempty"`
	Error  string         `json:",omitempty"`
}

func serveHolders() int {
	engine, err := swarm.Open("")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ln, err := net.Listen("tcp", fmt.Sprintf(":%d", holderPort))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	near, far := net.Pipe()
	server := holder.New(containers.New(engine.Client()), slog.Default())
	ctx := context.Background()
	go server.Run(ctx)
	go func() { fmt.Fprintln(os.Stderr, "the server ended:", server.Serve(ctx, near)) }()
	client := asking.New(far)
	var printing sync.Mutex
	say := func(t told) {
		printing.Lock()
		defer printing.Unlock()
		json.NewEncoder(os.Stdout).Encode(t)
	}
	say(told{Case: "ready"})
	for {
		conn, err := ln.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		go serveHolder(client, conn, time.Now(), say)
	}
}

// serveHolder reads what a client wants: CASE, CASE after SECONDS, or CASE ended ID STARTED.
func serveHolder(client *asking.Client, conn net.Conn, accepted time.Time, say func(told)) {
	ctx := context.Background()
	line, _ := bufio.NewReader(conn).ReadString('\n')
	words := strings.Fields(line)
	if len(words) == 4 && words[1] == "ended" {
		conn.Close()
		started, _ := strconv.ParseInt(words[3], 10, 64)
		ending, err := client.Ended(ctx, asking.Run{ID: words[2], Started: started})
		say(told{Case: words[0], Ending: &ending, Error: text(err)})
		return
	}
	if len(words) == 3 {
		seconds, _ := strconv.Atoi(words[2])
		time.Sleep(time.Duration(seconds) * time.Second)
	}
	if len(words) == 0 {
		return
	}
	h, found, err := client.Who(ctx, conn.LocalAddr().(*net.TCPAddr).AddrPort(),
		conn.RemoteAddr().(*net.TCPAddr).AddrPort(), accepted)
	t := told{Case: words[0], Found: found, Error: text(err)}
	if found {
		t.Holder = &h
	}
	say(t)
	io.WriteString(conn, "said\n")
	if found {
		ending, err := client.Ended(ctx, h.Run)
		say(told{Case: words[0], Ending: &ending, Error: text(err)})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// holders is a host on which that program runs.
type holders struct {
	*testing.T
	*lab.Host
	proc *lab.Proc
}

func (h *holders) start() {
	h.Helper()
	exe, err := os.Executable()
	if err != nil {
		h.Fatal(err)
	}
	before := len(h.heard("ready"))
	h.proc = h.Host.Start("holders", "env", holderEnv+"=1", filepath.Base(exe))
	lab.WaitFor(h.T, patience, "the program", func() error {
		if len(h.heard("ready")) == before {
			return errors.New("it has not said that it is ready")
		}
		return nil
	})
}

// heard returns what was said of a case so far.
func (h *holders) heard(name string) (all []told) {
	if h.proc == nil {
		return nil
	}
	for line := range strings.Lines(h.proc.Logs()) {
		var t told
		if json.Unmarshal([]byte(line), &t) == nil && t.Case == name {
			all = append(all, t)
		}
	}
	return all
}

func (h *holders) await(name string, n int) told {
	h.Helper()
	var t told
	lab.WaitFor(h.T, patience, fmt.Sprintf("line %d of %s", n, name), func() error {
		all := h.heard(name)
		if len(all) < n {
			return fmt.Errorf("there are %d", len(all))
		}
		t = all[n-1]
		return nil
	})
	if t.Error != "" {
		h.Errorf("%s: %s", name, t.Error)
	}
	return t
}

// program connects as a case, with a source port unless that is 0, waits until it was said who it is, and goes on.
func program(name, host string, from int, then string) []string {
	return []string{"python:3.6", "python3", "-c", fmt.Sprintf(`
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", %d))
s.connect((%q, %d))
s.sendall(b"%s\n")
%s
`, from, host, holderPort, name, then)}
}

const (
	heardOut = "s.recv(5)\n"
	forever  = heardOut + "time.sleep(10000)"
)

// TestHolder asks, with Docker 20.10 and 26, for programs on each kind of network whose they are, and how
// they ended by each of the ways there are.
func TestHolder(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"bookworm", "trixie"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			l.Install(exe)
			host, other := l.AddHost(lab.Release(release)), l.AddHost(lab.WithoutDocker())
			host.LoadPythonBase()
			host.Docker("swarm", "init", "--advertise-addr", host.IP().String())
			host.Docker("network", "create", "--subnet", "10.77.0.0/24", "mine")
			host.Docker("network", "create", "--driver", "overlay", "--attachable", "over")
			t.Log("Docker", host.Docker("version", "--format", "{{.Server.Version}}"))
			h := &holders{T: t, Host: host}
			h.start()
			h.wantOwners(other)
			h.wantEndings()
			h.wantNobodyElse()
			h.wantRestarts()
		})
	}
}

// run starts a container, and returns its ID.
func (h *holders) run(name, then string, flags ...string) (id string) {
	h.Helper()
	address := "172.17.0.1"
	if slices.Contains(flags, "host") {
		address = "127.0.0.1"
	}
	args := append([]string{"run", "--detach", "--name", name}, flags...)
	return h.Docker(append(args, program(name, address, 0, then)...)...)
}

// wantRun wants a case to be known as a container.
func (h *holders) wantRun(name, id string) asking.Holder {
	h.Helper()
	t := h.await(name, 1)
	if !t.Found || t.Holder.ID != id || t.Holder.Name != name {
		h.Errorf("%s, container %s, is %+v", name, id, t.Holder)
		return asking.Holder{}
	}
	return *t.Holder
}

// wantOwners has programs on each kind of network, on the host and elsewhere.
func (h *holders) wantOwners(other *lab.Host) {
	h.Helper()
	for _, network := range []string{"bridge", "mine", "over", "host"} {
		name := "on-" + network
		h.wantRun(name, h.run(name, forever, "--network", network))
	}
	shared := h.run("in-anothers", forever, "--network", "container:on-mine")
	h.wantRun("in-anothers", shared)
	for network, address := range map[string]string{"over": "gateway", "host": "127.0.0.1"} {
		name := "task-" + network
		h.Docker(append([]string{"service", "create", "--detach", "--no-resolve-image", "--name", name, "--network",
			network, "--host", "gateway:host-gateway"}, program(name, address, 0, forever)...)...)
		t := h.await(name, 1)
		if !t.Found || t.Holder.Service != name || t.Holder.Task == "" ||
			t.Holder.ID != h.Docker("ps", "--quiet", "--no-trunc", "--filter", "name="+name) {
			h.Errorf("%s is %+v", name, t.Holder)
		}
	}
	// Docker masks the address of the host's own programs that connect to that of a bridge: nothing tells whose
	// the connection is.
	h.Docker(append([]string{"run", "--detach", "--network", "host"},
		program("masked", "172.17.0.1", 0, forever)...)...)
	if t := h.await("masked", 1); t.Found {
		h.Errorf("one whose address is masked is %+v", t.Holder)
	}
	for name, conn := range map[string]net.Conn{
		"on-loopback":  h.dial(h.Host, "127.0.0.1"),
		"on-gateway":   h.dial(h.Host, "172.17.0.1"),
		"on-own":       h.dial(h.Host, h.IP().String()),
		"from-another": h.dial(other, h.IP().String()),
	} {
		defer conn.Close()
		fmt.Fprintln(conn, name)
		if t := h.await(name, 1); t.Found {
			h.Errorf("%s is %+v", name, t.Holder)
		}
	}
}

func (h *holders) dial(from *lab.Host, addr string) net.Conn {
	h.Helper()
	conn, err := from.DialContext(h.Context(), "tcp", net.JoinHostPort(addr, strconv.Itoa(holderPort)))
	if err != nil {
		h.Fatal(err)
	}
	return conn
}

// wantEndings has programs end.
func (h *holders) wantEndings() {
	h.Helper()
	type way struct {
		then string
		rm   bool
		end  func(name string)
		want asking.Ending
	}
	ways := map[string]way{
		"done":    {then: heardOut, want: asking.Ending{Known: true}},
		"removed": {then: heardOut, rm: true, want: asking.Ending{Known: true}},
		"fails":   {then: heardOut + "sys.exit(3)", want: asking.Ending{Known: true, Code: 3}},
		"killed": {forever, false, func(name string) { h.Docker("kill", name) },
			asking.Ending{Known: true, Code: 137, Stopped: true}},
		"stopped": {forever, true, func(name string) { h.Docker("stop", name) },
			asking.Ending{Known: true, Stopped: true}},
		"forced": {forever, false, func(name string) { h.Docker("rm", "--force", name) },
			asking.Ending{Known: true, Code: 137, Stopped: true}},
		"shot": {forever, true, func(name string) {
			h.MustExec("kill", "-9", h.Docker("inspect", "--format", "{{.State.Pid}}", name))
		}, asking.Ending{Known: true, Code: 137}},
	}
	if strings.Contains(h.Docker("info", "--format", "{{.MemoryLimit}}"), "true") {
		ways["hungry"] = way{then: heardOut + "x = [bytearray(1 << 20) for n in range(500)]",
			want: asking.Ending{Known: true, Code: 137, OutOfMemory: true}}
	}
	for name, w := range ways {
		flags := []string{"--memory", "60m"}
		if w.rm {
			flags = append(flags, "--rm")
		}
		id := h.run(name, w.then, flags...)
		h.wantRun(name, id)
		if w.end != nil {
			w.end(name)
		}
	}
	for name, w := range ways {
		if t := h.await(name, 2); t.Ending == nil || *t.Ending != w.want {
			h.Errorf("%s ended with %+v, want %+v", name, t.Ending, w.want)
		}
	}
	h.Docker("service", "scale", "--detach", "task-over=0")
	h.Docker("service", "rm", "task-host")
	for _, name := range []string{"task-over", "task-host"} {
		if t := h.await(name, 2); *t.Ending != (asking.Ending{Known: true, Stopped: true}) {
			h.Errorf("%s, which Swarm stopped, ended with %+v", name, t.Ending)
		}
	}
}

// wantNobodyElse has a container take the address and the port of one that ended, before it is asked for the first
// one's connection.
func (h *holders) wantNobodyElse() {
	h.Helper()
	place := func(name, line string) string {
		args := []string{"run", "--detach", "--name", name, "--network", "mine", "--ip", "10.77.0.77"}
		return h.Docker(append(args, program(line, "10.77.0.1", 7777, forever)...)...)
	}
	place("before", "before after 12")
	lab.WaitFor(h.T, patience, "its connection", func() error {
		if !strings.Contains(h.MustExec("ss", "-Htn", "state", "established"), "10.77.0.77]:7777") {
			return errors.New("it is not there")
		}
		return nil
	})
	h.Docker("rm", "--force", "before")
	h.wantRun("after", place("after", "after"))
	if t := h.await("before", 1); t.Found {
		h.Errorf("the connection of one that is gone is %+v", t.Holder)
	}
}

// wantRestarts ends Docker and the program itself while there are waits.
func (h *holders) wantRestarts() {
	h.Helper()
	stopped := h.wantRun("stopped-with-docker", h.run("stopped-with-docker", forever))
	bridge := h.await("on-bridge", 1).Holder
	h.MustExec("systemctl", "restart", "docker.service")
	for _, name := range []string{"stopped-with-docker", "on-bridge"} {
		if t := h.await(name, 2); t.Ending.Done() || !t.Ending.Stopped {
			h.Errorf("%s, which Docker stopped as it ended itself, ended with %+v", name, t.Ending)
		}
	}
	h.wantRun("since-then", h.run("since-then", forever))
	late := h.run("late", heardOut+"time.sleep(5)")
	h.wantRun("late", late)

	// systemd starts Docker again, which finds what has ended meanwhile.
	h.SignalDocker(syscall.SIGKILL)
	if t := h.await("late", 2); t.Ending.Done() {
		h.Errorf("one that ended while nobody watched is done: %+v", t.Ending)
	} else {
		h.Log("ended while Docker was away:", *t.Ending)
	}

	// A program that is started again knows nothing but what it is asked.
	running := h.wantRun("goes-on", h.run("goes-on", forever))
	gone := h.wantRun("gone", h.run("gone", forever))
	h.proc.Kill()
	h.Docker("rm", "--force", "gone")
	h.start()
	for name, run := range map[string]asking.Run{
		"again": running.Run, "again-gone": gone.Run, "again-stopped": stopped.Run, "again-bridge": bridge.Run,
	} {
		conn := h.dial(h.Host, "127.0.0.1")
		defer conn.Close()
		fmt.Fprintf(conn, "%s ended %s %d\n", name, run.ID, run.Started)
	}
	for _, name := range []string{"again-gone", "again-stopped", "again-bridge"} {
		t := h.await(name, 1)
		if t.Ending.Done() {
			h.Errorf("%s is done: %+v", name, t.Ending)
		}
		h.Log(name, *t.Ending)
	}
	if all := h.heard("again"); len(all) > 0 {
		h.Errorf("one that runs ended: %+v", all)
	}
	h.Docker("kill", "goes-on")
	if t := h.await("again", 1); *t.Ending != (asking.Ending{Known: true, Code: 137, Stopped: true}) {
		h.Errorf("it was killed: %+v", t.Ending)
	}
}
