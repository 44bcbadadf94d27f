package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestIPv6 installs a cluster on servers that have IPv6 addresses alone, and on one that has
// both, and uses all that has an address: each works, and is printed as others take it.
func TestIPv6(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Install(artifact.Binary(t))
	release := lab.Release("trixie")
	hosts := append(l.AddHosts(2, release, lab.IPv6()), l.AddHost(release, lab.DualStack()))
	c := &cluster{T: t, lab: l, hosts: hosts, manager: hosts[0], agents: map[*lab.Host]*lab.Proc{}}
	v := &version6{cluster: c, worker: hosts[1], both: hosts[2]}
	contains(t, v.manager.MustExec("crawlbox", "doctor", "manager"), v.manager.IP().String()+" on eth0")
	contains(t, v.manager.MustExec("crawlbox", "install", "manager", "--queue"), "manager is ready")

	v.join()
	v.manager.LoadPythonBase()
	t.Run("images", func(t *testing.T) { v.in(t).images() })
	t.Run("queue", func(t *testing.T) { v.in(t).queue() })
	t.Run("firewall", func(t *testing.T) { v.in(t).firewall() })
	t.Run("boot", func(t *testing.T) { v.in(t).boot() })
	t.Run("printed", func(t *testing.T) { v.in(t).printed() })
}

// version6 is a cluster of a manager and a worker with IPv6 alone, and of a worker with both.
type version6 struct {
	*cluster
	worker, both *lab.Host
}

func (v *version6) in(t *testing.T) *version6 {
	return &version6{cluster: v.sub(t), worker: v.worker, both: v.both}
}

// join has a worker join by the bootstrap command, and the other by the join token.
func (v *version6) join() {
	v.Helper()
	var token api.Token
	v.read(&token, "token")
	contains(v.T, token.Bootstrap, "'https://"+v.manager.At(7980)+"/")
	contains(v.T, v.worker.MustExec("crawlbox", "doctor", "--join", token.Join), "can be a worker as it is")
	contains(v.T, v.worker.MustExec("sh", "-c", token.Bootstrap), "ca.pem: OK", "worker is ready")
	contains(v.T, v.both.MustExec("crawlbox", "install", "worker", "--join", token.Join), "worker is ready")
	v.awaitReady(3)
	at := map[string]bool{}
	for _, n := range v.nodes() {
		at[n.Addr] = true
	}
	for _, ip := range []netip.Addr{v.manager.IP(), v.worker.IP(), v.both.IP6()} {
		if !at[ip.String()] {
			v.Errorf("no node is at %s, but at %v", ip, at)
		}
	}
	for _, h := range v.hosts {
		v.fit(h)
	}
}

// images come by both names of the registry, to nodes and to a machine with a login.
func (v *version6) images() {
	outside := v.lab.AddHost(lab.Release("trixie"), lab.IPv6())
	contains(v.T, outside.MustExec("sh", "-euc", v.run("registry", "login")), "Login Succeeded")
	pushed := v.public("tiny:1")
	outside.Load(artifact.TinyImage(v, pushed, 0))
	outside.Docker("push", "--quiet", pushed)
	outside.PowerOff()
	for _, h := range []*lab.Host{v.worker, v.both} {
		h.Docker("pull", "--quiet", pushed)
		h.Docker("image", "rm", pushed)
	}
	v.push("localhost:8003/tiny:2")
	contains(v.T, v.run("deploy", "localhost:8003/tiny:2", "--replicas", "3", "--max-per-node", "1"),
		"3/3 nodes have it", "3 running")
	v.awaitNoProblem()
}

// pops6 is a spider that finds the queue by itself.
const pops6 = `
import os, redis, socket, time
redis.from_url(os.environ['REDIS_URL']).rpush('found by', socket.gethostname())
time.sleep(3600)
`

// queue is found by spiders on all nodes, and by a client with its URL.
func (v *version6) queue() {
	v.manager.Docker("tag", "python:3.6", "localhost:8003/python:1")
	v.manager.Docker("push", "--quiet", "localhost:8003/python:1")
	v.configure("queue: {}\nservices:\n  finds:\n    image: localhost:8003/python:1\n    command: [python3, -c, " +
		fmt.Sprintf("%q", pops6) + "]\n    deploy: {replicas: 3, placement: {max_replicas_per_node: 1}}\n")
	v.awaitServices("finds", "tiny")
	v.awaitRunning("finds", 3)
	var addr api.QueueAddress
	v.read(&addr, "queue", "url")
	client := dialQueue(v.T, v.worker, addr)
	lab.WaitFor(v, patience, "spiders on all nodes to find the queue", func() error {
		found, err := client.LRange(v.Context(), "found by", 0, -1).Result()
		if err != nil {
			return err
		}
		return want(len(found), 3)
	})
}

// shut6 keeps new connections of other nodes out.
const shut6 = `ip6tables -A INPUT -i lo -j ACCEPT
ip6tables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
ip6tables -A INPUT -p tcp -m multiport --dports 7980,7981 -j DROP`

// firewall is found, and opened by the commands that the doctor names.
func (v *version6) firewall() {
	v.worker.MustExec("sh", "-euc", shut6)
	found := v.ill(v.worker, "firewall")
	contains(v.T, found.Text, "7980/tcp", "ip6tables")
	v.cure(v.worker, found)
	v.fit(v.worker)
}

// boot starts a node while its machine still finds out, as each does when it boots, that nobody
// else has its address: it waits for that, and does not take it for one that it has lost.
func (v *version6) boot() {
	v.worker.MustExec("systemctl", "stop", "crawlbox")
	v.worker.MustExec("sysctl", "-w", "net.ipv6.conf.eth0.dad_transmits=5")
	v.worker.MustExec("ip", "addr", "flush", "dev", "eth0", "scope", "global")
	v.worker.MustExec("ip", "addr", "add", v.worker.IP().String()+"/64", "dev", "eth0")
	v.worker.MustExec("systemctl", "start", "crawlbox")
	contains(v.T, v.worker.MustExec("crawlbox", "status"), v.worker.IP().String())
	if journal := v.worker.MustExec("journalctl", "--no-pager", "--unit=crawlbox"); strings.Contains(journal,
		"no longer has the address") || strings.Contains(journal, "has another address than before") {
		v.Errorf("it takes its address for lost: %s", journal)
	}
	v.awaitNoProblem()
}

// bare finds an address of the lab with a port and without brackets.
var bare = regexp.MustCompile(`(^|[^0-9a-f:\[])fd00:99::[0-9a-f]+:(2377|7891|79[0-9]{2}|8003)\b`)

// printed wants brackets around each address that has a port, wherever one is printed.
func (v *version6) printed() {
	for _, text := range []string{"fd00:99::1:8003", "at fd00:99::1:7980,", `"fd00:99::2:7891"`} {
		if !bare.MatchString(text) {
			v.Errorf("the test overlooks %q", text)
		}
	}
	contains(v.T, v.run("status"), "localhost:8003, "+v.manager.At(8003), v.manager.At(7891))
	contains(v.T, v.run("queue", "url"), "@"+v.manager.At(7891))
	everywhere := []string{
		"status", "status --json", "doctor", "doctor --json", "config show", "help", "version",
	}
	onManager := []string{
		"nodes", "nodes --json", "registry login", "registry login --json", "queue url", "queue url --json", "token",
		"token --json", "token --bootstrap", "token ls", "ls", "ps", "inspect finds", "history", "images", "logs finds",
	}
	for _, h := range v.hosts {
		commands := everywhere
		if h == v.manager {
			commands = append(commands, onManager...)
		}
		for _, command := range commands {
			r := h.Exec(v.Context(), append([]string{"crawlbox"}, strings.Fields(command)...)...)
			v.bracketed(h.Name()+": crawlbox "+command, r.Stdout+r.Stderr)
		}
		v.bracketed(h.Name()+": journal", h.MustExec("journalctl", "--no-pager", "--unit=crawlbox"))
		v.bracketed(h.Name()+": audit log", h.Exec(v.Context(), "cat", auditLog).Stdout)
	}
}

func (v *version6) bracketed(what, text string) {
	v.Helper()
	for line := range strings.Lines(text) {
		if bare.MatchString(line) {
			v.Errorf("%s has an address with a port and no brackets: %s", what, line)
		}
	}
}
