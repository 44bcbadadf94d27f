package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// heist is a cluster with something to steal, and those who try: a host that
// never was in the cluster, and one that was removed from it.
type heist struct {
	*cluster
	worker, removed, stranger *lab.Host

	image  prize
	stolen *pki.Identity // of the removed node, as its root has it
	live   *pki.Identity // of the worker, to see that what is tried could work
	loot   loot
}

// Names in the lab are short enough to be in any answer by chance.
const (
	heistManager = "master-of-the-heist"
	heistWorker  = "servant-of-the-heist"
	heistImage   = "hidden/spider"
	heistTag     = "tag-of-the-heist"
	heistList    = "list-of-the-heist"
	heistItem    = "item-of-the-heist"
)

// TestStrangers comes from outside of the cluster, and from a node that was
// removed with all that its root could copy before. It finds the open ports by
// itself and tries each one: it must learn nothing and change nothing.
func TestStrangers(t *testing.T) {
	t.Parallel()
	h := newHeist(t)
	before := h.state()
	for _, target := range []struct {
		host  *lab.Host
		doors map[door]trial
	}{{h.manager, managerDoors}, {h.worker, workerDoors}} {
		open := openDoors(t, target.host)
		for d, try := range target.doors {
			if !open[d] && !d.optional() {
				t.Errorf("%s is not open on %s: %v", d, target.host.Name(), open)
				continue
			}
			t.Run(fmt.Sprintf("%s %s", target.host.Name(), d), func(t *testing.T) {
				h := h.in(t)
				h.reach(target.host, d)
				try(h, target.host, d)
			})
		}
		for d := range open {
			if target.doors[d] == nil {
				t.Errorf("%s is open on %s, and nobody tried what strangers get there", d, target.host.Name())
			}
		}
	}
	t.Run("removed node's Docker", func(t *testing.T) { h.in(t).pullsNothing() })
	t.Run("manager's Docker under another name", func(t *testing.T) { h.in(t).rebound() })
	if after := h.state(); after != before {
		t.Errorf("strangers changed the cluster from\n%s\nto\n%s", before, after)
	}
	t.Run("a key that is good", func(t *testing.T) { h.in(t).gossipAsNode() })
}

func newHeist(t *testing.T) *heist {
	l := newLab(t)
	l.Install(artifact.Binary(t))
	h := &heist{cluster: &cluster{T: t, lab: l, agents: map[*lab.Host]*lab.Proc{}}}
	h.manager = l.AddHost(lab.Hostname(heistManager))
	h.worker, h.removed = l.AddHost(lab.Hostname(heistWorker)), l.AddHost(lab.Hostname("traitor"))
	h.stranger = l.AddHost(lab.WithoutDocker())
	h.hosts = []*lab.Host{h.manager, h.worker}
	h.configure(queueConfig)
	h.startManager()
	h.join(h.worker)
	h.join(h.removed)
	h.awaitReady(3)
	h.stolen, h.live = h.copyIdentity(h.removed), h.copyIdentity(h.worker)
	h.run("node", "rm", "--force", "traitor")
	h.awaitReady(2)
	h.settledKeys()
	h.awaitTrials()

	h.push("localhost:8003/" + heistImage + ":" + heistTag)
	h.run("queue", "push", heistList, heistItem)
	h.image = h.prize(heistImage, heistTag)
	h.loot = h.collect()
	return h
}

// collect adds to the secrets what a stranger shall not even know the name of.
func (h *heist) collect() loot {
	h.Helper()
	l := h.secrets()
	maps.Copy(l, loot{
		"name of the manager":    heistManager,
		"name of the worker":     heistWorker,
		"ID of the worker":       h.live.Node.ID,
		"name of the image":      h.image.name,
		"tag":                    h.image.tag,
		"list of the queue":      heistList,
		"item of the queue":      heistItem,
		"digest of the manifest": strings.TrimPrefix(h.image.digest, "sha256:"),
		"digest of a blob":       strings.TrimPrefix(h.image.blob, "sha256:"),
		"ID of the manager":      h.copyIdentity(h.manager).Node.ID,
	})
	for _, role := range []string{"manager", "worker"} {
		l["ID in the swarm of the "+role] = h.manager.Docker("node", "ls", "--quiet", "--filter", "role="+role)
	}
	return l
}

func (h *heist) in(t *testing.T) *heist {
	s := *h
	s.cluster = h.sub(t)
	return &s
}

// state is all that strangers could have changed.
func (h *heist) state() string {
	h.Helper()
	return strings.Join([]string{
		h.registryState(), h.run("registry", "ls", "--json"), h.run("token", "ls", "--json"),
		h.run("queue", "len"), h.run("queue", "peek", heistList),
		h.manager.Docker("node", "ls", "--format",
			"{{.ID}} {{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}}"),
		h.manager.ReadFile("/var/lib/crawlbox/ca/members.json"),
		h.manager.MustExec("sha256sum", "/var/lib/crawlbox/gossip.json", "/var/lib/crawlbox/ca/ca.pem"),
	}, "\n")
}

// door is an open port.
type door struct {
	proto string // tcp or udp
	port  int
	at    netip.Addr // where alone it is open; zero: at the host's address
}

// bridge is where containers reach their host. A neighbour that sends its packets there does so too.
var bridge = netip.MustParseAddr("172.17.0.1")

func (d door) String() string {
	if d.at.IsValid() {
		return fmt.Sprintf("%s %d at %s", d.proto, d.port, d.at)
	}
	return fmt.Sprintf("%s %d", d.proto, d.port)
}

// optional reports whether Docker opens it only when it needs it.
func (d door) optional() bool { return d.port == 4789 }

// trial is how a door of a host is tried.
type trial func(h *heist, host *lab.Host, d door)

// managerDoors and workerDoors are all that may be open, and how it is tried.
var (
	managerDoors = together(workerDoors, map[door]trial{
		{proto: "tcp", port: 8003}: (*heist).tryHTTP,
		{proto: "tcp", port: 7891}: (*heist).tryQueue,
		{proto: "tcp", port: 2377}: (*heist).trySwarm,
	})
	workerDoors = map[door]trial{
		{proto: "tcp", port: 7980}: (*heist).tryHTTP,
		{proto: "tcp", port: 7981}: (*heist).tryGossip,
		{proto: "udp", port: 7981}: (*heist).tryPackets,
		// Swarm's own: what it says to whom is Docker's business.
		{proto: "tcp", port: 7946}: (*heist).tryStreams,
		{proto: "udp", port: 7946}: (*heist).tryPackets,
		{proto: "udp", port: 4789}: (*heist).tryPackets,
		// For containers.
		{proto: "tcp", port: 7891, at: bridge}: (*heist).tryQueue,
	}
)

func together(all ...map[door]trial) map[door]trial {
	sum := map[door]trial{}
	for _, m := range all {
		maps.Copy(sum, m)
	}
	return sum
}

// openDoors are the ports of a host that are not on loopback only.
func openDoors(t *testing.T, host *lab.Host) map[door]bool {
	t.Helper()
	open := map[door]bool{}
	for line := range strings.Lines(host.MustExec("ss", "-Hltnu")) {
		v := strings.Fields(line) // protocol, state, two queues, address:port, …
		if len(v) < 5 {
			t.Fatalf("what ss says is odd: %q", line)
		}
		at := strings.LastIndex(v[4], ":")
		port, err := strconv.Atoi(v[4][at+1:])
		if err != nil {
			t.Fatalf("what ss says is odd: %q", line)
		}
		name, _, _ := strings.Cut(strings.Trim(v[4][:at], "[]"), "%")
		d := door{proto: v[0], port: port}
		switch addr, err := netip.ParseAddr(name); {
		case err != nil:
		case addr.IsLoopback():
			continue
		case !addr.IsUnspecified() && addr != host.IP():
			d.at = addr
		}
		open[d] = true
	}
	return open
}

// reach connects: what is not reached has refused nothing.
func (h *heist) reach(host *lab.Host, d door) {
	h.Helper()
	h.dial(host, d).Close()
}

func (h *heist) dial(host *lab.Host, d door) net.Conn {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), quick)
	defer cancel()
	addr := addrOf(host, d.port)
	if d.at.IsValid() {
		h.stranger.MustExec("ip", "route", "replace", d.at.String(), "via", host.IP().String())
		addr = netip.AddrPortFrom(d.at, uint16(d.port)).String()
	}
	conn, err := h.stranger.DialContext(ctx, d.proto, addr)
	if err != nil {
		h.Fatal(err)
	}
	return conn
}

// hush is how long a packet waits for an answer that must not come.
const hush = 200 * time.Millisecond

// junk is what strangers may send to any port.
func junk() map[string][]byte {
	list := map[string][]byte{
		"HTTP":          []byte("GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n"),
		"zeros":         make([]byte, 1024),
		"TLS":           {0x16, 3, 1, 0, 4, 1, 0, 0, 0},
		"encrypted":     append([]byte{10, 0, 0, 0, 64}, bytes.Repeat([]byte("x"), 64)...),
		"a label":       append([]byte{244, 4}, "abcd"...),
		"VXLAN":         append([]byte{8, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 64)...),
		"many messages": {7, 255, 0, 1, 0, 0},
		"push and pull": {
			6, 0x83, 0xa5, 'N', 'o', 'd', 'e', 's', 0, 0xac, 'U', 's', 'e', 'r', 'S', 't', 'a', 't', 'e', 'L', 'e', 'n',
			0, 0xa4, 'J', 'o', 'i', 'n', 0xc3,
		},
		"compressed": {9, 0x82, 0xa4, 'A', 'l', 'g', 'o', 0, 0xa3, 'B', 'u', 'f', 0xa1, 'x'},
		"ping":       {0, 0x82, 0xa5, 'S', 'e', 'q', 'N', 'o', 1, 0xa4, 'N', 'o', 'd', 'e', 0xa0},
		"ping of another": {
			1, 0x84, 0xa5, 'S', 'e', 'q', 'N', 'o', 1, 0xa6, 'T', 'a', 'r', 'g', 'e', 't', 0xa4, 10, 99, 0, 2, 0xa4,
			'P', 'o', 'r', 't', 0xcd, 0x1f, 0x2d, 0xa4, 'N', 'o', 'd', 'e', 0xa0,
		},
	}
	return list
}

// tryPackets wants no answer to any of them.
func (h *heist) tryPackets(host *lab.Host, d door) {
	h.Helper()
	conn := h.dial(host, d)
	defer conn.Close()
	for _, packet := range junk() {
		if _, err := conn.Write(packet); err != nil {
			h.Fatal(err)
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(hush))
	answer := make([]byte, 1<<16)
	if n, err := conn.Read(answer); err == nil {
		h.Errorf("%s on %s answers %q", d, host.Name(), answer[:n])
	}
}

// tryStreams looks at what comes back. An error may: memberlist says why it
// hangs up, encrypted.
func (h *heist) tryStreams(host *lab.Host, d door) {
	h.Helper()
	for name, stream := range junk() {
		conn := h.dial(host, d)
		_, _ = conn.Write(stream) // it may have been closed already
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(quick))
		answer, _ := io.ReadAll(conn)
		conn.Close()
		h.loot.in(h.T, fmt.Sprintf("%s to %s on %s", name, d, host.Name()), answer)
	}
}
