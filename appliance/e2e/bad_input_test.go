package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// badInput is a cluster of one manager, and machines that can't become a part
// of it for one reason or another.
type badInput struct {
	*cluster
	fresh *lab.Host // that nothing was done to yet; it calls itself as the manager does
}

// TestBadInput holds what a user may get wrong to one rule: one line that says
// what is wrong, where and what to do, the right exit code, and a machine as it
// was.
func TestBadInput(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 0)
	b := &badInput{c, c.lab.AddHost(lab.Hostname("h1"))}

	t.Run("machine", func(t *testing.T) { b.in(t).machine() })
	t.Run("addresses", func(t *testing.T) { b.in(t).addresses() })
	t.Run("ports", func(t *testing.T) { b.in(t).ports() })
	t.Run("config", func(t *testing.T) { b.in(t).config() })
	t.Run("disk", func(t *testing.T) { b.in(t).fullDisk() })
	t.Run("join token", func(t *testing.T) { b.in(t).joinStrings() })
	t.Run("not a manager there", func(t *testing.T) { b.in(t).notCrawlbox() })
	t.Run("privileges", func(t *testing.T) { b.in(t).noRoot() })
	t.Run("commands", func(t *testing.T) { b.in(t).commands() })
	t.Run("somebody else's swarm", func(t *testing.T) { b.in(t).otherSwarm() })
	t.Run("two nodes with one name", func(t *testing.T) { b.in(t).twins() })
}

func (b *badInput) in(t *testing.T) *badInput { return &badInput{b.sub(t), b.fresh} }

// refused runs crawlbox on a machine, wants it to say all parts in one line and
// to leave the machine as it was.
func (b *badInput) refused(h *lab.Host, args []string, parts ...string) {
	b.Helper()
	b.says(h, 1, args, parts...)
	b.untouched(h)
}

// says runs crawlbox and checks exit code and message. The message is shown to
// whoever runs the test with -v, as a user would read it.
func (b *badInput) says(h *lab.Host, code int, args []string, parts ...string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	if args[0] != "env" && args[0] != "setpriv" {
		args = append([]string{"crawlbox"}, args...)
	}
	r := h.Exec(ctx, args...)
	msg := strings.TrimSuffix(r.Stderr, "\n")
	b.Log(msg)
	if r.Code != code || r.Stdout != "" || msg == "" || strings.Contains(msg, "\n") {
		b.Errorf("%s: exit code %d and output %q, want %d and one line on stderr: %s", strings.Join(args, " "), r.Code,
			r.Stdout, code, msg)
	}
	if p := missing(msg, append(parts, "crawlbox: ")); p != "" {
		b.Errorf("%s: %q is not in %q", strings.Join(args, " "), p, msg)
	}
}

// untouched fails the test if crawlbox left something on a machine.
func (b *badInput) untouched(h *lab.Host) {
	b.Helper()
	const look = `
find /var/lib/crawlbox -type f 2>/dev/null
ls -d /etc/docker/certs.d /run/crawlbox.sock 2>/dev/null
docker info --format '{{.Swarm.LocalNodeState}}' 2>/dev/null | grep -v '^inactive$'
grep ' 0A ' /proc/net/tcp /proc/net/tcp6 | grep -e :1F43 -e :1F2C -e :1F2D -e :1ED3 -e :0949
true`
	if left := h.MustExec("sh", "-c", look); left != "" {
		b.Errorf("on %s is left: %s", h.Name(), left)
	}
}

func manager(flags ...string) []string { return append([]string{"manager"}, flags...) }

func worker(joinString string) []string { return []string{"worker", "--join", joinString} }

// machine is about Docker.
func (b *badInput) machine() {
	bare := b.lab.AddHost(lab.WithoutDocker())
	b.refused(bare, manager(), "no Docker Engine answers at unix:///var/run/docker.sock", "apt-get install docker.io",
		"systemctl start docker")
	b.refused(bare, worker(b.token("worker")), "no Docker Engine answers", "apt-get install docker.io")

	b.refused(bare, []string{"install", "manager"}, "this machine is not run by systemd", "`crawlbox manager`")

	old := oldEngine(b.T)
	b.refused(bare, []string{"env", "DOCKER_HOST=" + old, "crawlbox", "manager"}, "Docker Engine 19.03.15 is too old",
		"20.10", "upgrade it")
	b.refused(bare, manager("--docker-host", "tcp://127.0.0.1:1"), "no Docker Engine answers at tcp://127.0.0.1:1",
		"DOCKER_HOST")

	live := b.lab.AddHost(lab.DockerFlags("--live-restore"))
	b.refused(live, manager(), "live-restore is on", "daemon.json", "systemctl reload docker")
	b.refused(live, worker(b.token("worker")), "live-restore is on")
}

// oldEngine answers as an engine of a version that can't be had any more.
func oldEngine(t *testing.T) (host string) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Api-Version", "1.40")
		if strings.HasSuffix(req.URL.Path, "/info") {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"ServerVersion":"19.03.15","Swarm":{"LocalNodeState":"inactive"}}`)
		}
	})}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return "unix://" + socket
}

// addresses is about a machine with several of them.
func (b *badInput) addresses() {
	b.fresh.MustExec("ip", "address", "add", "198.18.0.1/24", "dev", "eth0")
	defer b.fresh.MustExec("ip", "address", "del", "198.18.0.1/24", "dev", "eth0")
	ours := b.fresh.IP().String()
	b.refused(b.fresh, manager(), "several addresses", ours+" (eth0)", "198.18.0.1 (eth0)", "--advertise-addr")
	b.refused(b.fresh, manager("--advertise-addr", "300.1.1.1"), "--advertise-addr", "300.1.1.1", "IP address")
	b.refused(b.fresh, manager("--advertise-addr", "203.0.113.9"), "203.0.113.9", "not an address of this machine")

	host := b.lab.AddHost()
	host.MustExec("ip", "address", "add", "198.18.0.2/24", "dev", "eth0")
	agent := host.Start("crawlbox", "crawlbox", "manager", "--advertise-addr", host.IP().String())
	lab.WaitFor(b, patience, "a manager at the address that was chosen",
		func() error { return host.Exec(b.Context(), "crawlbox", "status").Err() })
	b.says(host, 1, manager(), "a crawlbox runs here already", "crawlbox status")
	b.says(host, 1, worker(b.token("worker")), "manager of a cluster of its own", "crawlbox leave --force")
	if _, err := agent.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// ports are taken by another process.
func (b *badInput) ports() {
	for port, key := range map[string]string{
		"8003": "registry.port",
		"7980": "node.port",
		"7981": "gossip.port",
		"7891": "queue.port",
	} {
		squatter := b.fresh.Start("squatter", "python3", "-m", "http.server", port)
		pid := ""
		lab.WaitFor(b, patience, "port "+port, func() error {
			pid = b.fresh.Exec(b.Context(), "sh", "-c", `ss -Hltnp "sport = :$1" | sed -n 's/.*pid=\([0-9]*\),.*/\1/p'`,
				"sh", port).Stdout
			pid = strings.TrimSpace(pid)
			return want(pid != "", true)
		})
		b.says(b.fresh, 1, manager("--queue"), "port "+port, "in use by python3", "(pid "+pid+")", "stop that process",
			key)
		squatter.Kill()
		b.untouched(b.fresh)
	}
}

// config is about files that are wrong.
func (b *badInput) config() {
	bomb := "services:\n  a: &a {image: x, labels: [l, l, l, l, l, l, l, l, l, l]}\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("  %c: &%c {image: x, x-more: [%s]}\n", c, c,
			strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), ", "))
	}
	for _, tc := range []struct {
		text  string
		parts []string
	}{
		{"regstry: {port: 8003}\n", []string{":1:", `unknown key "regstry"`, `did you mean "registry"`}},
		{"registry:\n  prt: 8003\n", []string{":2:", "prt", "port"}},
		{"registry:\n  port: many\n", []string{":2:", "registry.port", "many"}},
		{"registry: 8003\n", []string{":1:", "registry", "must be a mapping"}},
		{"services:\n  spider:\n    image: a\n    replica: 3\n", []string{":4:", "replica", "services.spider.replica"}},
		{"services:\n  spider:\n    imge: a\n", []string{":3:", `did you mean "services.spider.image"?`}},
		{
			"services:\n  spider:\n    image: a\n    comand: b\n",
			[]string{":4:", `did you mean "services.spider.command"?`},
		},
		{"services:\n  spider:\n    image: a\n    ports: ['80:80']\n", []string{":4:", "ports", "host's network"}},
		{"services:\n  spider:\n    image: a\n    deploy: {replicas: -1}\n", []string{":4:", "replicas"}},
		{
			"services:\n  spider:\n    image: a\n    deploy: {replicas: x}\n",
			[]string{":4:", "replicas", `must be a whole number from 0 to 20000, not "x"`},
		},
		{"services:\n  spider: {image: 'Not An Image'}\n", []string{":2:", "must be the name of an image"}},
		{"services: [\n", []string{":1:", "not YAML"}},
		{"data_dir: &a [*a]\n", []string{":1:"}},
		{bomb, []string{"crawlbox.yaml:", "alias"}},
	} {
		b.fresh.WriteFile(configFile, tc.text)
		b.says(b.fresh, 1, manager(), append(tc.parts, configFile)...)
	}
	b.untouched(b.fresh)
	b.fresh.MustExec("rm", configFile)
	b.refused(b.fresh, manager("--config", "/etc/crawlbox/none.yaml"), "/etc/crawlbox/none.yaml does not exist",
		"crawlbox config init")
	b.says(b.fresh, 2, manager("--registry-port", "many"), "many", "crawlbox manager --help")
	b.says(b.fresh, 2, manager("--regstry-port", "1"), "--regstry-port", "crawlbox manager --help")
	b.says(b.fresh, 2, manager("now"), "takes no arguments", "now")
	b.says(b.fresh, 2, []string{"managr"}, "unknown command", "manager")
	b.untouched(b.fresh)
}

// fullDisk finds no room for the state of a node.
func (b *badInput) fullDisk() {
	full := b.lab.AddHost(lab.StateLimit("20m"))
	full.MustExec("sh", "-c", "head -c 18M /dev/zero >/var/lib/crawlbox/else")
	parts := []string{"the disk is full", "free under /var/lib/crawlbox", "data_dir"}
	b.says(full, 1, manager(), parts...)
	b.says(full, 1, worker(b.token("worker")), parts...)
	full.MustExec("rm", "/var/lib/crawlbox/else")
	b.untouched(full)
}

// joinStrings is about what was pasted.
func (b *badInput) joinStrings() {
	good := b.token("worker")
	parsed, err := token.Parse(good)
	if err != nil {
		b.Fatal(err)
	}
	change := func(f func(*token.JoinToken)) string {
		s := parsed
		f(&s)
		text, err := s.Reveal()
		if err != nil {
			b.Fatal(err)
		}
		return text
	}
	other := "A"
	if good[20:21] == other {
		other = "B"
	}
	for name, tc := range map[string]struct {
		text  string
		parts []string
	}{
		"a letter is wrong": {
			good[:20] + other + good[21:], []string{"typing error", "copy the whole line again"},
		},
		"its end is missing": {good[:len(
			good)-7], []string{"cut", "7 characters are missing", "copy the whole line"}},
		"nearly all is missing": {good[:6], []string{"cut", "copy the whole line"}},
		"garbage":               {"hello", []string{"not a join token", "CBX1-", "crawlbox token"}},
		"a docker token":        {"SWMTKN-1-abc", []string{"not a join token", "CBX1-", "crawlbox token"}},
		"empty":                 {"", []string{"crawlbox worker --join TOKEN"}},
		"of a newer crawlbox":   {"CBX9" + good[4:], []string{"newer crawlbox", "update crawlbox"}},
		"for a manager": {b.token(
			"manager"), []string{"is for a manager", "crawlbox manager --join", "crawlbox token worker"}},
		"of another cluster": {change(
			func(s *token.JoinToken) { s.CA[0]++ }), []string{"CA fingerprint mismatch", "another cluster"}},
		"with a wrong secret": {change(
			func(s *token.JoinToken) { s.Secret[0]++ }), []string{"secret", "crawlbox token"}},
		"with a token of long ago": {change(
			func(s *token.JoinToken) { s.Token = "aaaaaaaa" }),
			[]string{"does not know this join token", "crawlbox token"}},
	} {
		b.Run(name, func(t *testing.T) { b.in(t).refused(b.fresh, worker(tc.text), tc.parts...) })
	}
}

// notCrawlbox is about the address in a join token.
func (b *badInput) notCrawlbox() {
	s, err := token.Parse(b.token("worker"))
	if err != nil {
		b.Fatal(err)
	}
	at := func(port uint16) []string {
		s.Managers = []netip.AddrPort{netip.AddrPortFrom(b.manager.IP(), port)}
		text, err := s.Reveal()
		if err != nil {
			b.Fatal(err)
		}
		return worker(text)
	}
	web := b.manager.Start("web", "python3", "-m", "http.server", "7000")
	defer web.Kill()
	lab.WaitFor(b, patience, "a web server", func() error {
		conn, err := b.fresh.DialContext(b.Context(), "tcp", b.manager.At(7000))
		if err == nil {
			conn.Close()
		}
		return err
	})
	where := b.manager.IP().String()
	b.refused(b.fresh, at(7000), where+":7000", "does not speak TLS", "not crawlbox", "check address and port")
	b.refused(b.fresh, at(7001), where+":7001", "nothing listens there", "crawlbox manager")
	b.refused(b.fresh, at(8003), where+":8003", "does not answer as a crawlbox manager does", "check the address")
	b.refused(b.fresh, at(2377), where+":2377", "CA fingerprint mismatch", "nothing was sent") // Swarm's own TLS
	b.manager.Cut()
	b.refused(b.fresh, at(7980), where+":7980", "check the address")
	b.manager.Heal()
}

// noRoot is about users without privileges.
func (b *badInput) noRoot() {
	nobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "crawlbox"}
	b.refused(b.fresh, append(nobody, "manager"), "needs root", "sudo")
	b.refused(b.fresh, append(nobody, worker(b.token("worker"))...), "needs root", "sudo")
	for _, read := range []string{"status", "ls"} {
		b.says(b.manager, 1, append(nobody, read), "no permission for /run/crawlbox.sock", "sudo", "socket_group")
		b.says(b.fresh, 1, []string{read}, "no crawlbox runs here", "crawlbox manager")
	}
}

// commands name what is not there.
func (b *badInput) commands() {
	b.push("localhost:8003/a:1")
	b.manager.Docker("service", "create", "--detach", "--name", "spider", "--network", "host", "localhost:8003/a:1")
	b.awaitRunning("spider", 1)
	before := b.version("spider")

	for _, args := range [][]string{
		{"ps", "spidr"},
		{"logs", "spidr"},
		{"inspect", "spidr"},
		{"scale", "spidr=2"},
		{"stop", "spidr"},
		{"rm", "spidr"},
		{"update", "spidr", "--image", "localhost:8003/a:1"},
		{"scale", "spidr=2", "spider=7"},
	} {
		b.says(b.manager, 1, args, `"spidr"`, `did you mean "spider"?`)
	}
	b.says(b.manager, 1, []string{"rm", "elephant"}, `unknown service "elephant"`, "crawlbox ls")
	for _, args := range [][]string{
		{"node", "drain", "h11"},
		{"node", "promote", "h11"},
		{"node", "rm", "h11"},
		{"ps", "--node", "h11"},
	} {
		b.says(b.manager, 1, args, `unknown node "h11"`, `did you mean "h1"?`)
	}
	b.says(b.manager, 1, []string{"node", "demote", "h1"}, "last manager", "promote another")
	b.says(b.manager, 2, []string{"scale", "spider=-1"}, "spider=-1", "whole number, 0 or more")
	b.says(b.manager, 2, []string{"scale", "spider"}, "spider=50")
	b.says(b.manager, 2, []string{"update", "spider"}, "needs --image")

	update := func(image string) []string { return []string{"update", "spider", "--image", image} }
	b.says(b.manager, 2, update("Not An Image"), `--image "Not An Image" is not the name of an image`,
		"localhost:8003/spider:0.02")
	b.says(b.manager, 1, update("localhost:8003/a:2"), "no image localhost:8003/a:2", "crawlbox images")
	b.says(b.manager, 1, append(update("localhost:8003/a:2"), "--stop-first-all"), "no image localhost:8003/a:2")
	b.says(b.manager, 1, update(b.manager.At(8003)+"/elephant:1"), "no image", "elephant:1")
	b.says(b.manager, 1, update("localhost:9/a:1"), "look up image localhost:9/a:1", "connection refused",
		"check its name")
	b.says(b.manager, 1, []string{"images", "rm", "aa:1"}, "no such image", "aa:1", "near it are a:1")
	b.says(b.manager, 1, []string{"queue", "len"}, "the queue is off", "crawlbox.yaml")
	if now := b.version("spider"); now != before {
		b.Errorf("the service was changed: its version was %s and is %s", before, now)
	}
}

// otherSwarm is about machines that are in a swarm already.
func (b *badInput) otherSwarm() {
	chief, member := b.lab.AddHost(), b.lab.AddHost()
	chief.Docker("swarm", "init", "--advertise-addr", chief.IP().String())
	member.Docker("swarm", "join", "--token", chief.Docker("swarm", "join-token", "--quiet", "worker"),
		chief.At(2377))
	id := chief.Docker("info", "--format", "{{.Swarm.Cluster.ID}}")

	b.says(chief, 1, manager(), "already in a swarm", "--adopt-swarm", "docker swarm leave --force")
	b.says(chief, 1, worker(b.token("worker")), "in another swarm", chief.IP().String(), "docker swarm leave")
	b.says(member, 1, manager(), "worker in the swarm of", chief.IP().String(), "docker swarm leave")
	b.says(member, 1, manager("--adopt-swarm"), "worker in the swarm of", chief.IP().String())
	b.says(member, 1, worker(b.token("worker")), "in another swarm", chief.IP().String(), "docker swarm leave")
	chief.Docker("node", "inspect", "self") // still the manager of it
	for _, h := range []*lab.Host{chief, member} {
		if files := h.MustExec("find", "/var/lib/crawlbox", "-type", "f"); files != "" {
			b.Errorf("on %s is left: %s", h.Name(), files)
		}
	}

	chief.Start("crawlbox", "crawlbox", "manager", "--adopt-swarm")
	lab.WaitFor(b, patience, "a manager that took the swarm over", func() error {
		r := chief.Exec(b.Context(), "crawlbox", "nodes", "--json")
		if r.Err() != nil {
			return r.Err()
		}
		var nodes []struct{ ID string }
		if err := json.Unmarshal([]byte(r.Stdout), &nodes); err != nil {
			return err
		}
		return want(len(nodes), 2)
	})
	if now := chief.Docker("info", "--format", "{{.Swarm.Cluster.ID}}"); now != id {
		b.Errorf("the swarm was %s and is %s", id, now)
	}
}

// twins are told apart, and their user is told about them.
func (b *badInput) twins() {
	b.join(b.fresh)
	b.awaitReady(2)
	nodes := b.nodes()
	if nodes[0].Display == nodes[1].Display || nodes[0].Name != nodes[1].Name {
		b.Errorf("the nodes are %q and %q", nodes[0].Display, nodes[1].Display)
	}
	b.says(b.manager, 1, []string{"node", "drain", "h1"}, "2 nodes are called h1", nodes[0].Display, nodes[1].Display)
	for _, n := range b.nodes() {
		if n.Availability != "active" {
			b.Errorf("%s is %s", n.Display, n.Availability)
		}
	}
	b.run("node", "drain", nodes[1].Display)
	b.run("node", "activate", nodes[1].Addr)

	contains(b.T, b.run("status"), "2 nodes have the host name h1", "hostnamectl set-hostname")
	warning := regexp.MustCompile(`another node has this machine's host name.*hostnamectl set-hostname`)
	for _, h := range []*lab.Host{b.manager, b.fresh} {
		lab.WaitFor(b, 10*time.Second, "a warning on "+h.Name(), func() error {
			return want(warning.MatchString(b.agents[h].Logs()), true)
		})
	}
}
