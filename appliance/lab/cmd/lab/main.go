// Command lab is the lab by hand: lab up N holds N hosts with crawlbox until Ctrl-C, lab up
// N trixie servers of that release with systemd, lab up N trixie bare the same without
// Docker, ipv6 with IPv6 addresses alone, and dual with such beside the others. lab clean
// removes what killed tests have left.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	args := os.Args[1:]
	switch {
	case len(args) == 1 && args[0] == "clean":
		os.Exit(clean())
	case len(args) >= 2 && len(args) <= 3 && args[0] == "up":
		os.Exit(up(ctx, args[1], args[2:], ""))
	case len(args) == 4 && args[0] == "up" && kinds[args[3]] != nil:
		os.Exit(up(ctx, args[1], args[2:3], args[3]))
	}
	fmt.Fprintf(os.Stderr, "usage: lab up N [RELEASE [bare|ipv6|dual]] | lab clean\nreleases: %s\n",
		strings.Join(slices.Sorted(maps.Keys(artifact.Releases)), " "))
	os.Exit(2)
}

// kinds are the hosts that are otherwise than most.
var kinds = map[string]lab.HostOption{"bare": lab.WithoutDocker(), "ipv6": lab.IPv6(), "dual": lab.DualStack()}

func clean() int {
	removed, err := frame.Sweep()
	for _, dir := range removed {
		fmt.Println("removed", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return 0
}

// pythonBase is what the Dockerfile starts from that a deploy makes for a Python spider.
const pythonBase = "python:3-slim"

func up(ctx context.Context, count string, release []string, kind string) (code int) {
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		fmt.Fprintf(os.Stderr, "lab: %q is not a number of hosts\n", count)
		return 2
	}
	t := &session{}
	defer t.end(&code)
	l := lab.New(t)
	step("building crawlbox")
	l.Install(artifact.Binary(t))
	var opts []lab.HostOption
	if kind != "" {
		opts = append(opts, kinds[kind])
	}
	for _, name := range release {
		opts = append(opts, lab.Release(name))
	}
	step("starting " + words.Count(n, "host") + "; a release that is new here is fetched first, about a minute")
	hosts := l.AddHosts(n, opts...)
	for _, h := range hosts {
		fmt.Printf("%s  %s  %s\n", h.Name(), h.IP(), h.Shell())
	}
	if kind != "bare" {
		step("loading the base image of Python spiders; the first time it is made, about half a minute")
		hosts[0].LoadPythonBase()
		hosts[0].Docker("tag", "python:3.6", pythonBase)
		fmt.Printf("They have no Internet. The Docker of %s has %s, of Debian with redis-py, for `crawlbox deploy` "+
			"of a Python spider.\n", hosts[0].Name(), pythonBase)
	}
	fmt.Println("Ctrl-C ends them")
	<-ctx.Done()
	return 0
}

// step says what begins and takes a while, out of the way of the list of hosts.
func step(text string) { fmt.Fprintln(os.Stderr, "lab: "+text) }

// session stands in for a test.
type session struct {
	cleanups []func()
	failed   bool
}

// failure is the panic by which Fatalf unwinds the stack.
type failure struct{}

func (*session) Helper()                      {}
func (*session) Name() string                 { return "lab" }
func (s *session) Failed() bool               { return s.failed }
func (s *session) Cleanup(f func())           { s.cleanups = append(s.cleanups, f) }
func (*session) Logf(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) }

func (s *session) Fatalf(format string, a ...any) {
	s.Logf(format, a...)
	s.failed = true
	panic(failure{})
}

func (s *session) end(code *int) {
	if cause := recover(); cause != nil {
		*code = 1
		if _, ok := cause.(failure); !ok {
			defer panic(cause)
		}
	}
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
}
