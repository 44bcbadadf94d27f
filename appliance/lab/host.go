package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// Host is one server of a lab.
type Host struct {
	lab    *Lab
	spec   hostSpec
	number int // from 1
	name   string
	ip     netip.Addr
	ip6    netip.Addr // not valid: it has none
	cable  string     // the bridge's end of it
	dir    string

	frame  *frame.Frame // nil while the host is off
	leader atomic.Int64 // the process whose namespaces are the host's; 0 while it is off

	mu     sync.Mutex
	procs  []*Proc
	docker *Proc
}

type hostSpec struct {
	hostname    string
	rate        string
	stateLimit  string
	noDocker    bool
	noIPv4      bool
	ipv6        bool
	systemd     bool
	release     string
	dockerFlags []string
}

// HostOption changes what AddHost makes.
type HostOption func(*hostSpec)

// Hostname sets the host's own name for itself, which is otherwise its name in
// the lab. Two hosts may have the same.
func Hostname(name string) HostOption { return func(s *hostSpec) { s.hostname = name } }

// Rate limits the network card in both directions, in the units of tc:
// "100mbit" is a hundred million bits a second.
func Rate(rate string) HostOption { return func(s *hostSpec) { s.rate = rate } }

// IPv6 makes a host that has an IPv6 address and no other.
func IPv6() HostOption { return func(s *hostSpec) { s.ipv6, s.noIPv4 = true, true } }

// DualStack gives a host an IPv6 address beside the other.
func DualStack() HostOption { return func(s *hostSpec) { s.ipv6 = true } }

// StateLimit puts /var/lib/crawlbox on a file system of that size, such as
// "64m", for a disk that fills up. What is on it is lost when the host is
// switched off.
func StateLimit(size string) HostOption { return func(s *hostSpec) { s.stateLimit = size } }

// WithoutDocker makes a host on which dockerd is not started. StartDocker can
// start it later. On a Systemd host Docker is not even installed, but apt finds its
// packages.
func WithoutDocker() HostOption { return func(s *hostSpec) { s.noDocker = true } }

// DockerFlags adds flags to dockerd's, such as "--live-restore".
func DockerFlags(flags ...string) HostOption {
	return func(s *hostSpec) { s.dockerFlags = append(s.dockerFlags, flags...) }
}

// Systemd boots Debian 12 with systemd as process 1 and Docker as its units
// docker.service, docker.socket and containerd.service. The first use on a
// machine takes a minute to fetch the packages.
func Systemd() HostOption { return Release(artifact.DefaultRelease) }

// Release is Systemd with another release of Debian or Ubuntu, such as "trixie", and
// Docker as that has it.
func Release(name string) HostOption {
	return func(s *hostSpec) { s.systemd, s.release = true, name }
}

// EnvRelease is the environment variable that names a release for all hosts, whatever
// Release says: scenarios then run on it that are written for another. A host without
// systemd has the machine's /etc, but that release's programs, Docker among them.
const EnvRelease = "CRAWLBOX_LAB_RELEASE"

func newHost(l *Lab, number int, opts []HostOption) *Host {
	h := &Host{
		lab:    l,
		number: number,
		name:   fmt.Sprintf("h%d", number),
		ip:     address(number),
		cable:  fmt.Sprintf("v%d", number),
	}
	h.dir = filepath.Join(l.dir, h.name)
	h.spec.hostname = h.name
	for _, opt := range opts {
		opt(&h.spec)
	}
	if h.spec.ipv6 {
		h.ip6 = address6(number)
	}
	if h.spec.noIPv4 {
		h.ip = h.ip6
	}
	if name := os.Getenv(EnvRelease); name != "" {
		h.spec.release = name
	}
	return h
}

// Name returns the host's name in the lab: h1, h2, …
func (h *Host) Name() string { return h.name }

// IP returns the address of the host's network card, the only one that others
// can reach; of a DualStack host that of IPv4.
func (h *Host) IP() netip.Addr { return h.ip }

// IP6 returns the IPv6 address of the host's card. It is not valid where it has none.
func (h *Host) IP6() netip.Addr { return h.ip6 }

// At returns a port of the host as others reach it: ADDRESS:PORT.
func (h *Host) At(port uint16) string { return netip.AddrPortFrom(h.ip, port).String() }

// PID returns the process, in the machine's numbers, whose namespaces are the
// host's: nsenter --target PID --all enters it.
func (h *Host) PID() int { return int(h.leader.Load()) }

// PowerOff ends everything on the host at once, as a power cut does. Its /etc
// and /var/lib stay.
func (h *Host) PowerOff() {
	h.lab.t.Helper()
	if err := h.powerOff(); err != nil {
		h.lab.t.Fatalf("lab: host %s: power off: %v", h.name, err)
	}
}

// PowerOn boots a host that PowerOff switched off. What was started on it by
// hand must be started again; its Docker is.
func (h *Host) PowerOn() {
	h.lab.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
	defer cancel()
	if err := h.powerOn(ctx); err != nil {
		h.lab.t.Fatalf("lab: host %s: power on: %v", h.name, err)
	}
}

func (h *Host) powerOff() error {
	if h.frame == nil {
		return nil
	}
	h.leader.Store(0) // first: its number may soon be another process's
	if err := h.frame.Stop(); err != nil {
		return err
	}
	h.frame = nil
	return h.unplug()
}

func (h *Host) powerOn(ctx context.Context) error {
	if h.frame != nil {
		return errors.New("power on: it is on already")
	}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	if h.spec.systemd {
		return h.bootSystemd(ctx)
	}
	if err := h.bootPlain(); err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	if !h.spec.noDocker {
		if err := h.startDocker(ctx); err != nil {
			return err
		}
	}
	return h.awaitCable()
}

// hostNamespaces lists what a host has of its own. IPC is among them because
// containers may share their host's.
const hostNamespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC |
	syscall.CLONE_NEWPID | syscall.CLONE_NEWNET

// plainScript furnishes a host. /etc is the machine's with the host's changes
// over it. /usr may be that of another release, given by its layers; the machine's is
// then elsewhere, for programs that the release lacks, such as git. /var/lib lies on the
// real disk, because Docker's overlay2 can't lie on an overlay.
const plainScript = `
dir=$1 hostname=$2 ip=$3 limit=$4 layers=$5
mount --make-rprivate /
mount -t proc proc /proc
mkdir -p $dir/etc $dir/etc.work $dir/var-lib/home
mount -t overlay -o lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc.work overlay /etc
mount --bind $dir/var-lib /var/lib
mount -t tmpfs tmpfs /run
mkdir /run/lock
if [ ! -e $dir/furnished ]; then
	rm -rf /etc/docker /etc/crawlbox /etc/resolv.conf /etc/hosts
	: >/etc/resolv.conf
	printf '127.0.0.1 localhost\n%s %s\n' $ip $hostname >/etc/hosts
	echo $hostname >/etc/hostname
	touch $dir/furnished
fi
if [ -n "$limit" ]; then
	mkdir -p -m 0700 /var/lib/crawlbox
	mount -t tmpfs -o mode=0700,size=$limit tmpfs /var/lib/crawlbox
fi
echo $hostname >/proc/sys/kernel/hostname
if [ -n "$layers" ]; then
	mkdir -p $dir/usr
	mount --bind /usr $dir/usr
	mount -t overlay -o lowerdir=$layers overlay /usr
fi
`

func (h *Host) bootPlain() (err error) {
	var layers string
	if h.spec.release != "" {
		files, err := artifact.NewSystem(h.lab.t, h.spec.release)
		if err != nil {
			return fmt.Errorf("make programs of another release: %w", err)
		}
		layers = files.Docker + "/usr:" + files.Bare + "/usr"
	}
	h.frame, err = frame.Start(h.dir, hostNamespaces, plainScript, h.dir, h.spec.hostname, h.ip.String(),
		h.spec.stateLimit, layers)
	if err != nil {
		return err
	}
	h.leader.Store(int64(h.frame.PID()))
	return h.plugIn()
}
