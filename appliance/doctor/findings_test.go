package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/doctor/firewall"
)

// machine returns one on which all is well.
func machine(files fs.FS) System {
	return System{
		Files: files,
		Run: func(_ context.Context, argv ...string) (string, error) {
			return "", fmt.Errorf("%s: %w", argv[0], exec.ErrNotFound)
		},
		Lookup:       func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil },
		Watch:        func() error { return nil },
		MaxFiles:     func() (uint64, error) { return 1 << 20, nil },
		Synchronized: func() (bool, error) { return true, nil },
		Free:         func(string) (int64, float64, error) { return 1 << 40, 1, nil },
	}
}

func files(list map[string]string) fs.FS {
	m := fstest.MapFS{}
	for path, text := range list {
		m[path] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

// expect compares findings with one line for each: level, text, remedy and commands.
func expect(t *testing.T, got []Finding, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d findings, want %d: %+v", len(got), len(want), got)
	}
	for i, f := range got {
		line := strings.Join([]string{string(f.Level), f.Text, f.Remedy, strings.Join(f.Commands, " && ")}, " | ")
		for part := range strings.SplitSeq(want[i], " … ") {
			if !strings.Contains(line, part) {
				t.Errorf("%q is not in %q", part, line)
			}
		}
		if f.Level != OK && f.Remedy == "" {
			t.Errorf("no remedy: %s", line)
		}
	}
}

func TestEngine_Findings(t *testing.T) {
	t.Parallel()
	good := Engine{
		Version:       "20.10.24+dfsg1",
		API:           "1.41",
		Storage:       "overlay2",
		CgroupVersion: "2",
		CgroupDriver:  "systemd",
		Root:          "/var/lib/docker",
	}
	expect(t, good.Findings(), "ok | Docker Engine 20.10.24+dfsg1, API 1.41", "ok | overlay2",
		"ok | version 2, kept by systemd")
	bad := good
	bad.Version, bad.Storage, bad.NoMemoryLimit = "19.03.8", "vfs", true
	expect(t, bad.Findings(), "bad | Docker Engine 19.03.8 is too old … upgrade it",
		"warning | Docker's storage driver is vfs", "warning … memory limits do nothing … update-grub")
	bad = good
	bad.Security, bad.NoDType = []string{"seccomp", "rootless"}, true
	expect(t, bad.Findings(), "bad | Docker runs rootless … --docker-host", "warning … ftype", "ok")
	for text, set := range map[string]func(*Engine){
		"bad | userns-remap is on … systemctl restart docker": func(e *Engine) { e.Security = []string{"userns"} },
		"bad | live-restore is on … systemctl reload docker":  func(e *Engine) { e.LiveRestore = true },
		"warning | no-new-privileges … setuid … systemctl restart docker": func(e *Engine) {
			e.Security = []string{"seccomp", "no-new-privileges"}
		},
		"warning … authorization plugin opa, twistlock … authorization-plugins": func(e *Engine) {
			e.Authorization = []string{"opa", "twistlock"}
		},
		"warning | Docker keeps no logs … systemctl restart docker": func(e *Engine) { e.LogDriver = "none" },
		"ok": func(e *Engine) {
			e.Security, e.LogDriver = []string{"apparmor", "seccomp", "selinux", "cgroupns"}, "json-file"
		},
	} {
		bad = good
		set(&bad)
		expect(t, bad.docker(), text)
	}
	bad = good
	bad.Root = "/var/snap/docker/common/var-lib-docker"
	expect(t, bad.docker(), "warning | Docker is the snap … snap remove docker && apt-get install docker.io")
}

func TestKernel(t *testing.T) {
	t.Parallel()
	const all = "CONFIG_OVERLAY_FS=m\nCONFIG_VETH=m\nCONFIG_BRIDGE=m\nCONFIG_VXLAN=m\nCONFIG_IP_VS=m\n"
	const dep = "kernel/fs/overlayfs/overlay.ko:\nkernel/drivers/net/veth.ko.xz: \nkernel/net/bridge/bridge.ko: " +
		"kernel/net/802/stp.ko\nkernel/drivers/net/vxlan/vxlan.ko.zst:\nkernel/net/netfilter/ipvs/ip_vs.ko:\n"
	for name, tt := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"modules": {
			map[string]string{"boot/config-6.1": all, "lib/modules/6.1/modules.dep": dep},
			[]string{"ok | Linux 6.1 with overlay, veth, bridge, vxlan, ip_vs"},
		},
		"modules that are not installed": {
			map[string]string{
				"boot/config-6.1":             all,
				"lib/modules/6.1/modules.dep": strings.ReplaceAll(dep, "vxlan.ko", "x.ko"),
			},
			[]string{"note | the kernel 6.1 has no vxlan: overlay networks do not work … linux-modules-extra"},
		},
		"built in": {
			map[string]string{"boot/config-6.1": strings.ReplaceAll(strings.ReplaceAll(all, "=m", "=y"),
				"CONFIG_IP_VS=y", "# CONFIG_IP_VS is not set")},
			[]string{"note | the kernel 6.1 has no ip_vs"},
		},
		"loaded": {
			map[string]string{"boot/config-6.1": strings.ReplaceAll(all, "=m", "=y"), "sys/module/ip_vs/x": ""},
			[]string{"ok"},
		},
		"nothing to see": {nil, []string{"ok"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := map[string]string{"proc/sys/kernel/osrelease": "6.1\n"}
			for path, text := range tt.files {
				list[path] = text
			}
			expect(t, machine(files(list)).Kernel(), tt.want...)
		})
	}
}

func TestKernel_OfThisMachine(t *testing.T) {
	t.Parallel()
	for _, f := range LocalSystem().Kernel() { // Docker runs here in other tests
		if strings.Contains(f.Text, "no veth") || strings.Contains(f.Text, "no bridge") ||
			strings.Contains(f.Text, "no overlay") {
			t.Errorf("%+v", f)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const dir = "proc/sys/fs/inotify/"
	s := machine(files(map[string]string{dir + "max_user_instances": "128\n", dir + "max_user_watches": "65536\n"}))
	expect(t, s.Limits(), "ok | 1048576 open files, 128 file watchers with 65536 watches")
	s.Watch = func() error { return &os.SyscallError{Syscall: "inotify_init1", Err: syscall.EMFILE} }
	s.MaxFiles = func() (uint64, error) { return 1024, nil }
	expect(t, s.Limits(), "warning | all 128 file watchers … sysctl -w fs.inotify.max_user_instances=1024 && echo "+
		"fs.inotify.max_user_instances=1024 >>/etc/sysctl.d/60-crawlbox.conf",
		"warning | at most 1024 files … ulimit -n 65536")
	s = machine(files(map[string]string{dir + "max_user_instances": "8\n", dir + "max_user_watches": "100\n"}))
	expect(t, s.Limits(), "warning | fs.inotify.max_user_instances is only 8",
		"warning | fs.inotify.max_user_watches is only 100 … =524288")
}

func TestClock(t *testing.T) {
	t.Parallel()
	s := machine(files(nil))
	expect(t, s.Clock(nil), "ok")
	expect(t, s.Clock([]Skew{{"h1", time.Second}}), "ok | it agrees with h1")
	expect(t, s.Clock([]Skew{{"h1", time.Second}, {"h2", -time.Minute}}),
		"warning | this machine's clock is 1m0s ahead of that of h2 … timedatectl set-ntp true")
	expect(t, s.Clock([]Skew{{"h1", 2 * time.Hour}}), "bad | this machine's clock is 2h0m0s behind that of h1")
	s.Synchronized = func() (bool, error) { return false, nil }
	expect(t, s.Clock(nil), "warning | nothing sets this machine's clock")
	expect(t, s.Clock([]Skew{{"h1", 0}}), "ok | it agrees with h1")
	s.Synchronized = func() (bool, error) { return false, syscall.EPERM }
	expect(t, s.Clock(nil), "ok")
}

func TestNames(t *testing.T) {
	t.Parallel()
	s := machine(files(map[string]string{"etc/resolv.conf": "nameserver 10.0.0.1\n"}))
	expect(t, s.Names(t.Context(), true), "ok")
	s.Lookup = func(_ context.Context, host string) ([]string, error) {
		if host == "localhost" {
			return []string{"::1", "127.0.0.1"}, nil
		}
		return nil, errors.New("no such host")
	}
	expect(t, s.Names(t.Context(), true), "warning | public names are not found")
	expect(t, s.Names(t.Context(), false), "warning | public names are not found (docker.io): what runs here")
	s.Files = files(nil)
	expect(t, s.Names(t.Context(), true), "note | /etc/resolv.conf names no server")
	s.Lookup = func(context.Context, string) ([]string, error) { return []string{"10.0.0.1"}, nil }
	expect(t, s.Names(t.Context(), true), "bad | localhost is not 127.0.0.1 … >>/etc/hosts")
}

func TestRoom(t *testing.T) {
	t.Parallel()
	s := machine(files(nil))
	expect(t, s.Room("/var/lib", "/var/lib/docker"), "ok | 1.1TB free under /var/lib, 1.1TB free under /var/lib/docker")
	s.Free = func(dir string) (int64, float64, error) {
		if dir == "/a" {
			return 1 << 20, 1, nil
		}
		return 1 << 40, 0.001, nil
	}
	expect(t, s.Room("/a", "/b"), "bad | the disk is full: 1.049MB free under /a … data_dir",
		"warning | only 0.1 % of the inodes are free under /b")
	expect(t, s.Room("/b", "/a"), "warning | only 0.1 %",
		"warning | only 1.049MB are free under /a … docker system prune")
	s.Free = func(string) (int64, float64, error) { return 0, 0, fs.ErrNotExist }
	expect(t, s.Room("/a"), "ok")
}

func TestAddress(t *testing.T) {
	t.Parallel()
	own, other := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("198.51.100.7")
	cards := []Card{
		{"lo", 65536, netip.MustParsePrefix("127.0.0.1/8")},
		{"eth0", 1500, netip.MustParsePrefix("10.0.0.5/24")},
	}
	expect(t, Address(own, CardAt(own, cards), []SeenAddr{{"h1", own}}, nil), "ok | 10.0.0.5 on eth0")
	expect(t, Address(other, CardAt(other, cards), []SeenAddr{{"h1", other}}, nil),
		"warning | 198.51.100.7 is no address of this machine, so it is behind NAT")
	expect(t, Address(own, CardAt(own, cards), []SeenAddr{{"h1", other}, {"h2", other}}, nil),
		"warning | h1 sees this machine come from 198.51.100.7, while others are told 10.0.0.5 … advertise_addr")
	lo := netip.MustParseAddr("127.0.0.1")
	expect(t, Address(lo, CardAt(lo, cards), nil, nil),
		"warning | 127.0.0.1 is good for a cluster of this machine alone")
}

// An address that a machine had and has no longer is not NAT: the way out is another.
func TestAddress_Moved(t *testing.T) {
	t.Parallel()
	moved := Moved{
		From:  netip.MustParseAddr("10.0.0.5"),
		First: true,
		Cards: []Card{
			{"lo", 65536, netip.MustParsePrefix("127.0.0.1/8")},
			{"docker0", 1500, netip.MustParsePrefix("10.0.0.1/8")},
			{"eth0", 1500, netip.MustParsePrefix("10.0.0.78/24")},
		},
	}
	expect(t, Address(moved.From, Card{}, nil, &moved), "bad | this machine no longer has the address 10.0.0.5 (it "+
		"has 10.0.0.78), at which it made the cluster … run `crawlbox recover` here … or give it that address again "+
		"(`ip addr add 10.0.0.5/24 dev eth0` … start Docker and crawlbox again")
	moved.First, moved.Cards = false, nil
	expect(t, Address(moved.From, Card{}, nil, &moved), "warning | this machine no longer has the address 10.0.0.5 … "+
		"at which the other nodes know it … takes the one that it has now within a minute … or give it that address "+
		"again")
	lo := netip.MustParseAddr("127.0.0.1")
	if FindMoved(lo, true) != nil {
		t.Error("an address that the machine has is taken for lost")
	}
	if got := slices.Concat(SwarmAddr(lo), SwarmAddr(netip.Addr{})); len(got) > 0 {
		t.Errorf("found %+v", got)
	}
	expect(t, SwarmAddr(netip.MustParseAddr("203.0.113.7")), "warning | Docker tells other nodes the address "+
		"203.0.113.7, which this machine no longer has … crawlbox leave")
	if m := FindMoved(netip.MustParseAddr("203.0.113.7"), true); m == nil || !m.First {
		t.Errorf("got %+v", m)
	}
}

func TestMTU(t *testing.T) {
	t.Parallel()
	card := Card{"eth0", 1450, netip.MustParsePrefix("10.0.0.5/24")}
	s := machine(files(map[string]string{"sys/class/net/docker0/mtu": "1500\n"}))
	expect(t, s.MTU(card, []PeerMTU{{"h1", 9000}, {"h2", 0}, {"h3", 1450}}),
		"warning … Docker's bridge of 1500 … \"mtu\": 1450 … driver.mtu=1400",
		"warning … the card of h1 of 9000 … ip link set eth0 mtu 1450")
	card.MTU = 1500
	expect(t, s.MTU(card, nil), "ok | 1500 on eth0")
	expect(t, s.MTU(Card{}, nil))
}

func TestFirewall(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile(filepath.Join("firewall", "testdata", "ufw.iptables"))
	if err != nil {
		t.Fatal(err)
	}
	s := machine(files(nil))
	s.Run = func(_ context.Context, argv ...string) (string, error) {
		switch strings.Join(argv, " ") {
		case "iptables-save -t filter":
			return string(rules), nil
		case "ufw status":
			return "Status: active\n", nil
		}
		return "", exec.ErrNotFound
	}
	needs := Needs(Ports{Node: 7980, Gossip: 7981, Registry: 8003, Queue: 7891}, true)
	lan := Card{"eth0", 1500, netip.MustParsePrefix("10.99.0.2/16")}
	expect(t, s.Firewall(t.Context(), needs, lan, nil),
		"bad | other nodes are kept out of 2377/tcp, 4789/udp, 7891/tcp, 7946/tcp+udp, 7981/udp, 8003/tcp … "+
			"ufw allow proto tcp from 10.99.0.0/16 to any port 2377,7891,7946,8003 && ufw allow proto udp from "+
			"10.99.0.0/16 to any port 4789,7946,7981")
	expect(t, s.Firewall(t.Context(), Needs(Ports{Node: 7980, Gossip: 7981}, true), lan, nil),
		"bad | other nodes are kept out of 2377/tcp, 4789/udp, 7946/tcp+udp, 7981/udp by")
	expect(t, s.Firewall(t.Context(), Needs(Ports{Node: 7980, Gossip: 7981}, false), lan, nil),
		"warning | other nodes are kept out of 4789/udp, 7946/tcp+udp, 7981/udp")

	wan, peer := Card{"eth0", 1500, netip.MustParsePrefix("203.0.113.2/24")}, netip.MustParseAddr("198.51.100.7")
	own := []Need{{firewall.Port{Proto: "tcp", Number: 7980}, "node.port", true}}
	expect(t, s.Firewall(t.Context(), own, wan, []netip.Addr{peer}),
		"bad … ufw allow proto tcp from 198.51.100.7 to any port 7980")
	own[0].Number = 9000 // by a rule for 7980 from some networks, anybody may be let in
	expect(t, s.Firewall(t.Context(), own, wan, nil),
		"bad … only, since overlay networks … ufw allow proto tcp from any to any port 9000")
	expect(t, machine(files(nil)).Firewall(t.Context(), own, wan, nil), "warning … can't be read … 9000/tcp")
}

func TestReach(t *testing.T) {
	t.Parallel()
	needs := Needs(Ports{Node: 7980, Gossip: 7981}, false)
	self, manager := netip.MustParseAddr(
		"10.0.0.5"), Neighbour{Name: "h1", Role: "manager", Addr: netip.MustParseAddr("10.0.0.1")}
	manager.There, manager.Here = []Try{{Port: 7980}, {Port: 2377}}, []Try{{Port: 7980}}
	expect(t, Reach([]Neighbour{manager}, needs, self), "ok | reached, and reach this node: h1")
	manager.There[1].Error, manager.Here[0].Error = "no answer", "it is refused"
	expect(t, Reach([]Neighbour{manager}, needs, self),
		"bad | this node does not reach h1 (10.0.0.1) at 2377/tcp: no answer",
		"bad | h1 (10.0.0.1) does not reach this node at 7980/tcp: it is refused … from 10.0.0.1 to 10.0.0.5")
	worker := Neighbour{
		Name:  "h2",
		Role:  "worker",
		Addr:  netip.MustParseAddr("10.0.0.2"),
		Error: "no answer within 5s",
		There: []Try{{Port: 7946, Error: "no answer"}},
	}
	expect(t, Reach([]Neighbour{{Name: "h3", Error: "it is away"}, {Name: "h1", Error: "removed", Removed: true}},
		needs,
		self), "bad | this node was removed from its cluster | run `crawlbox leave` here")
	expect(t, Reach([]Neighbour{worker}, needs, self), "warning | h2 (10.0.0.2) can't be asked",
		"warning | this node does not reach h2 (10.0.0.2) at 7946/tcp")
}

func TestDial(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	if tries := Dial(t.Context(), netip.MustParseAddr("127.0.0.1"), []uint16{open}); tries[0] != (Try{Port: open}) {
		t.Errorf("an open port: %+v", tries)
	}
	ln.Close()
	if tries := Dial(t.Context(), netip.MustParseAddr("127.0.0.1"),
		[]uint16{open}); !strings.Contains(tries[0].Error, "refused") {
		t.Errorf("a closed port: %+v", tries)
	}
}

func TestPortsHere(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	taken := uint16(conn.LocalAddr().(*net.UDPAddr).Port)
	lo := netip.MustParseAddr("127.0.0.1")
	needs := []Need{{firewall.Port{Proto: "udp", Number: taken}, "gossip.port", false}}
	expect(t, PortsHere(needs, lo, false, false),
		fmt.Sprintf("bad | port %d on 127.0.0.1 is in use by doctor.test (pid %d) … gossip.port", taken, os.Getpid()))
	expect(t, PortsHere(needs, lo, true, true), "ok | crawlbox and Docker have theirs")
	needs[0].Key = ""
	expect(t, PortsHere(needs, lo, false, false),
		fmt.Sprintf("bad | port %d/udp, which Docker Swarm needs, is in use by doctor.test", taken))
	expect(t, PortsHere(needs, lo, false, true), "ok | Docker has its own")
}

// TestNeed_Addrs: what serves the machine itself is opened on loopback too.
func TestNeed_Addrs(t *testing.T) {
	t.Parallel()
	bind := netip.MustParseAddr("10.0.0.1")
	for key, want := range map[string][]netip.Addr{
		"queue.port": {bind, Loopback}, "registry.port": {bind, Loopback}, "node.port": {bind},
		"": {netip.IPv4Unspecified()},
	} {
		if got := (Need{Key: key}).addrs(bind); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", key, got, want)
		}
	}
	if got := (Need{Key: "queue.port"}).addrs(Loopback); len(got) != 1 {
		t.Errorf("on loopback alone: %v", got)
	}
}

func TestNewReport(t *testing.T) {
	t.Parallel()
	if r := NewReport("h1", "worker", []Finding{good("a", "b"), {Level: Warn}}); !r.OK {
		t.Error("a warning is bad")
	}
	if r := NewReport("h1", "worker",
		[]Finding{Failed("swarm", Bad, errors.New("it is in another; leave that; now"))}); r.OK ||
		r.Findings[0].Remedy != "leave that; now" {
		t.Errorf("got %+v", r)
	}
}
