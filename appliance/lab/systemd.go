package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// machineBin is where a Systemd host has the lab's programs. Not below /tmp,
// which it empties when it boots.
const machineBin = "/opt/lab/bin"

// systemdScript boots a root file system that has the host's changes over the
// cached ones. systemd-nspawn would take the cgroup /payload for its own, so it
// is given another one to start from; the names of the hierarchies differ with
// the version of cgroups.
const systemdScript = `
dir=$1 layers=$2 hostname=$3 ip=$4 limit=$5 cgroup=$6 unified=$7
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p $dir/upper $dir/work $dir/root $dir/docker $dir/containerd
mount -t overlay -o lowerdir=$layers,upperdir=$dir/upper,workdir=$dir/work overlay $dir/root
if [ ! -e $dir/furnished ]; then
	echo $hostname >$dir/root/etc/hostname
	printf '127.0.0.1 localhost\n%s %s\n' $ip $hostname >$dir/root/etc/hosts
	rm -f $dir/root/etc/resolv.conf
	: >$dir/root/etc/resolv.conf
	cp $dir/docker.env $dir/root/etc/default/docker
	touch $dir/furnished
fi
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
	[ -e $hierarchy/cgroup.procs ] || continue
	mkdir -p $hierarchy$cgroup/init
	echo $$ >$hierarchy$cgroup/init/cgroup.procs
done
if [ -n "$unified" ]; then
	export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
fi
# runc makes keyrings and device filters, which systemd-nspawn forbids unless told;
# dockerd writes to /proc/sys/net; the rest of it is the machine's.
SYSTEMD_NSPAWN_API_VFS_WRITABLE=network systemd-nspawn --quiet --directory=$dir/root --boot --machine=$hostname \
	--network-namespace-path=/proc/self/ns/net --capability=all \
	--system-call-filter='@keyring bpf' --register=no --keep-unit --console=pipe --resolv-conf=off --timezone=off \
	--bind=$dir/docker:/var/lib/docker --bind=$dir/containerd:/var/lib/containerd \
	--bind-ro=$dir/../bin:` + machineBin + ` \
	${limit:+--tmpfs=/var/lib/crawlbox:mode=0700,size=$limit} \
	</dev/null >>$dir/console.log 2>&1 &
`

func (h *Host) bootSystemd(ctx context.Context) error {
	if err := frame.CheckTools("systemd-nspawn"); err != nil {
		return err
	}
	files, err := artifact.NewSystem(h.lab.t, h.spec.release)
	if err != nil {
		return fmt.Errorf("make root file system: %w", err)
	}
	unified, flags := "", []string{"--cgroup-parent=" + h.cgroup()}
	if h.unified() { // the host's systemd makes the cgroups of containers
		unified, flags = "yes", nil
	}
	layers := files.Docker + ":" + files.Bare
	if h.spec.noDocker {
		layers = files.Bare
	}
	options := fmt.Sprintf("DOCKER_OPTS=%q\n", strings.Join(append(flags, h.spec.dockerFlags...), " "))
	if err := os.WriteFile(filepath.Join(h.dir, "docker.env"), []byte(options), 0o644); err != nil {
		return err
	}
	h.frame, err = frame.Start(h.dir, hostNamespaces, systemdScript,
		h.dir, layers, h.spec.hostname, h.ip.String(), h.spec.stateLimit, h.cgroup(), unified)
	if err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	if err := h.plugIn(); err != nil {
		return err
	}
	unit := "docker.service"
	if h.spec.noDocker {
		unit = "multi-user.target"
	}
	return h.awaitSystemd(ctx, unit)
}

// ShutDown ends a Systemd host in good order, as systemctl poweroff does; PowerOn starts
// it again.
func (h *Host) ShutDown() {
	h.lab.t.Helper()
	leader := h.PID()
	h.MustExec("systemctl", "poweroff")
	WaitFor(h.lab.t, verbTimeout, h.name+" to shut down", func() error {
		if isInit(leader) {
			return errors.New("systemd runs on")
		}
		return nil
	})
	h.PowerOff()
}

// unified reports whether the host has cgroups of version 2 alone.
func (h *Host) unified() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil || artifact.Releases[h.spec.release].Unified
}

// openCgroups makes the hierarchies of version 1 writable, as they are on a
// server: systemd-nspawn mounts all but its own read-only, and runc needs them.
const openCgroups = `for dir in /sys/fs/cgroup/*; do
	if mountpoint -q $dir; then mount -o remount,bind,rw $dir || exit; fi
done`

// console returns the file with what the host says while it boots.
func (h *Host) console() string { return filepath.Join(h.dir, "console.log") }

// awaitSystemd waits until the host has booted and a unit is active.
func (h *Host) awaitSystemd(ctx context.Context, unit string) error {
	for {
		leader, err := h.findLeader()
		if err == nil {
			h.leader.Store(int64(leader))
			if err = h.Exec(ctx, "systemctl", "is-active", unit).Err(); err == nil {
				return h.Exec(ctx, "sh", "-c", openCgroups).Err()
			}
		}
		if clock.Sleep(ctx, 4*frame.PollInterval) != nil {
			return fmt.Errorf("wait for %s: %w (the console ends with: %s)", unit, err,
				frame.LastLine(h.console(), "nothing"))
		}
	}
}

// findLeader returns the host's systemd: the grandchild of the frame that is
// process 1 of its PID namespace.
func (h *Host) findLeader() (int, error) {
	for _, nspawn := range children(h.frame.PID()) {
		for _, pid := range children(nspawn) {
			if isInit(pid) {
				return pid, nil
			}
		}
	}
	return 0, errors.New("systemd has not started")
}

func children(pid int) (pids []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// isInit reports whether systemd runs already as process 1: before, the process
// still furnishes its namespaces.
func isInit(pid int) bool {
	if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(name) != "systemd\n" {
		return false
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(numbers)
			return fields[len(fields)-1] == "1"
		}
	}
	return false
}
