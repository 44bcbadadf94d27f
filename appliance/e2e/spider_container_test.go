package e2e

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

//go:embed testdata/thief.py
var thief string

// TestSpiderContainer runs a spider that was taken over, as Docker runs spiders:
// as root, on the host's network. It must get at no image, no key and no API,
// while the Docker Engine that it shares the host with pulls the same image by
// the same addresses. What a container with --privileged can do is out of scope:
// it is root on the host.
func TestSpiderContainer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 1)
	const name, tag = "hidden/spider", "tag-of-the-heist"
	c.push("localhost:8003/" + name + ":" + tag)
	prize := c.prize(name, tag)
	secrets := c.secrets()
	before := c.registryState()

	c.importPython()
	var spiders []*spider
	for _, h := range c.hosts {
		c.pullBoth(h, prize)
		spiders = append(spiders,
			c.startSpider(h, prize, "as it is", true),
			c.startSpider(h, prize, "all processes", false, "--pid=host"),
			c.startSpider(h, prize, noRoot, false, "--user=1000"))
	}
	judge := func(stays bool) {
		for _, s := range spiders {
			if s.stays == stays {
				t.Run(s.host.Name()+" "+s.name, func(t *testing.T) { s.judge(c.sub(t), secrets) })
			}
		}
	}
	for _, s := range spiders {
		lab.WaitFor(t, patience, "a spider to have tried all", func() error { return s.reached("hammering", "end") })
	}
	judge(false)
	for _, h := range c.hosts {
		for range 3 {
			c.pullBoth(h, prize)
		}
	}
	judge(true)
	for _, h := range c.hosts {
		c.pullBoth(h, prize)
	}
	if after := c.registryState(); after != before {
		t.Errorf("the registry was\n%s\nand is\n%s", before, after)
	}
}

const noRoot = "no root"

// importPython does what LoadPythonBase does, on all hosts at once.
func (c *cluster) importPython() {
	c.Helper()
	tar := artifact.PythonImage(c)
	var all errgroup.Group
	for _, h := range c.hosts {
		all.Go(func() error { return h.Exec(c.Context(), "docker", "import", tar, "python:3.6").Err() })
	}
	if err := all.Wait(); err != nil {
		c.Fatal(err)
	}
}

// pullBoth pulls an image that the host does not have, by both names.
func (c *cluster) pullBoth(h *lab.Host, p prize) {
	c.Helper()
	for _, registry := range []string{"localhost:8003", addrOf(c.manager, 8003)} {
		ref := registry + "/" + p.name + ":" + p.tag
		c.pull(h, ref)
		h.Docker("image", "rm", "--force", ref)
	}
}

// spider is a container that steals.
type spider struct {
	host  *lab.Host
	name  string
	label string
	stays bool
	proc  *lab.Proc
}

func (c *cluster) startSpider(h *lab.Host, p prize, name string, stays bool, flags ...string) *spider {
	c.Helper()
	s := &spider{host: h, name: name, label: strings.ReplaceAll(name, " ", "-"), stays: stays}
	stay := "go"
	if stays {
		stay = "stay"
	}
	args := slices.Concat([]string{"docker", "run", "--rm", "--name", s.label, "--network", "host"}, flags,
		[]string{
			"python:3.6", "python3", "-c", thief, h.IP().String(), c.manager.IP().String(), p.name, p.tag, p.digest,
			p.blob, p.manifest, stay,
		})
	s.proc = h.Start(s.label, args...)
	return s
}

// try is one thing that a spider did, and what came of it.
type try struct {
	Kind, What, Got, Text string
}

func (s *spider) tries() (list []try) {
	for line := range strings.Lines(s.proc.Logs()) {
		var v try
		if json.Unmarshal([]byte(line), &v) == nil {
			list = append(list, v)
		}
	}
	return list
}

// reached reports whether the spider did one of these last.
func (s *spider) reached(kinds ...string) error {
	list := s.tries()
	if !slices.ContainsFunc(list, func(v try) bool { return slices.Contains(kinds, v.Kind) }) {
		return fmt.Errorf("%s on %s has tried %d things: %.2000s", s.name, s.host.Name(), len(list), s.proc.Logs())
	}
	return nil
}

// judge ends the spider and looks at all that it got.
func (s *spider) judge(c *cluster, secrets loot) {
	c.Helper()
	if s.stays {
		s.host.Docker("kill", "--signal", "TERM", s.label)
	}
	if code, err := s.proc.Wait(c.Context()); err != nil || code != 0 {
		c.Fatalf("it ended with %d, %v:\n%s", code, err, s.proc.Logs())
	}
	secrets.in(c.T, "spider", []byte(s.proc.Logs()))
	count := map[string]int{}
	for _, v := range s.tries() {
		count[v.Kind+" "+v.Got]++
		if why := v.succeeded(s, c.manager); why != "" {
			c.Errorf("%s: %s %s: got %s, %.1000q", why, v.Kind, v.What, v.Got, v.Text)
		}
		if v.Kind == "hammered" {
			c.Logf("while Docker pulled: %s", v.What)
		}
	}
	c.Log(count)
}

// succeeded says what is wrong with what came of a try; empty: nothing.
func (v try) succeeded(s *spider, manager *lab.Host) string {
	switch v.Kind {
	case "registry":
		return unless(v.Got, "not refused", "401", "403")
	case "port":
		if v.Got == "EACCES" && s.name == noRoot {
			return ""
		}
		return unless(v.Got, "not refused", "401", "403")
	case "closed":
		if s.host == manager {
			return "the manager's own registry was not tried"
		}
		return unless(v.Got, "not closed", "ECONNREFUSED")
	case "nodes":
		return unless(v.Got, "not refused", "400", "403", "404", "405")
	case "silent":
		return unless(v.Got, "not silent", "silence")
	case "queue":
		return unless(v.Got, "not refused", "-NOAUTH Authentication required.")
	case "hidden":
		return unless(v.Got, "not hidden", "ENOENT", "EACCES", "EPERM", "ENOSYS", "ESRCH")
	case "abstract":
		if strings.Contains(v.What, "crawlbox") || strings.Contains(v.What, "docker") {
			return "not hidden"
		}
	case "hammered":
		if n, err := strconv.Atoi(v.Got); err != nil || n < 100 {
			return "too few tries to show anything"
		}
	}
	return ""
}

func unless(got, why string, allowed ...string) string {
	if slices.Contains(allowed, got) {
		return ""
	}
	return why
}
