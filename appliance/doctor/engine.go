package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MinEngine is the oldest Docker Engine that crawlbox works with.
const MinEngine = "20.10"

// Engine holds what a Docker Engine says of itself.
type Engine struct {
	Version, API  string
	LiveRestore   bool
	Security      []string // names of its security options
	Authorization []string // plugins that are asked before it does anything
	LogDriver     string
	Root          string // its data directory
	Storage       string // storage driver
	NoDType       bool   // the file system below overlay2 does not tell types of entries
	CgroupVersion string
	CgroupDriver  string
	NoMemoryLimit bool
}

// Check returns why this engine can't be that of a node.
func (e Engine) Check() error {
	switch {
	case older(e.Version, MinEngine):
		return fmt.Errorf("Docker Engine %s is too old, crawlbox needs %s or newer; upgrade it (apt-get install "+
			"--only-upgrade docker.io)", e.Version, MinEngine)
	case e.LiveRestore:
		return errors.New("live-restore is on, which Swarm excludes; take \"live-restore\" out of " +
			"/etc/docker/daemon.json and run `systemctl reload docker`")
	case slices.Contains(e.Security, "rootless"):
		return errors.New("Docker runs rootless, with a network of its own that other nodes do not reach; install " +
			"Docker for the whole machine, or name its engine with --docker-host")
	case slices.Contains(e.Security, "userns"):
		return errors.New("userns-remap is on, with which Docker refuses every container on the host's network, as " +
			"services are; take \"userns-remap\" out of /etc/docker/daemon.json and run `systemctl restart docker`")
	}
	return nil
}

// Findings returns the findings of `crawlbox doctor`.
func (e Engine) Findings() []Finding {
	return slices.Concat(e.docker(), e.storage(), e.cgroups())
}

func (e Engine) docker() (list []Finding) {
	if err := e.Check(); err != nil {
		list = append(list, Failed("docker", Bad, err))
	}
	if strings.HasPrefix(e.Root, "/var/snap/") {
		list = append(list, wrong("docker", Warn,
			"Docker is the snap, which does not see /etc/docker/certs.d: only localhost names of the registry work",
			"remove the snap and install Docker as a package", "snap remove docker", "apt-get install docker.io"))
	}
	if slices.Contains(e.Security, "no-new-privileges") {
		list = append(list, Finding{
			Check: "docker",
			Level: Warn,
			Text: "no-new-privileges is on in Docker's daemon.json: setuid programs such as sudo, and the sandbox of " +
				"Chromium, do not work in services",
			Remedy:   "take \"no-new-privileges\" out of /etc/docker/daemon.json if services need them, then",
			Commands: []string{"systemctl restart docker"},
		})
	}
	if len(e.Authorization) > 0 {
		list = append(list, Finding{
			Check: "docker",
			Level: Warn,
			Text: fmt.Sprintf("Docker asks the authorization plugin %s, which may refuse what crawlbox does",
				strings.Join(e.Authorization, ", ")),
			Remedy: "have it admit root at Docker's socket, or take \"authorization-plugins\" out of " +
				"/etc/docker/daemon.json",
		})
	}
	if e.LogDriver == "none" {
		list = append(list, Finding{
			Check: "docker",
			Level: Warn,
			Text: "Docker keeps no logs of containers (log-driver none): `crawlbox logs` shows nothing, and a failed " +
				"deploy cannot say why",
			Remedy:   "take \"log-driver\" out of /etc/docker/daemon.json, then",
			Commands: []string{"systemctl restart docker"},
		})
	}
	return orGood(list, "docker", fmt.Sprintf("Docker Engine %s, API %s", e.Version, e.API))
}

// storages lists the drivers that keep images in layers.
var storages = []string{"overlay2", "overlayfs", "btrfs", "zfs", "fuse-overlayfs"}

func (e Engine) storage() (list []Finding) {
	switch {
	case !slices.Contains(storages, e.Storage):
		list = append(list, wrong("storage", Warn,
			fmt.Sprintf("Docker's storage driver is %s, which copies whole images for each container or is no "+
				"longer kept up", e.Storage),
			fmt.Sprintf("put %s on ext4 or xfs and let Docker choose overlay2", e.Root)))
	case e.NoDType:
		list = append(list, wrong("storage", Warn,
			fmt.Sprintf("%s lies on an xfs without ftype: overlay2 damages images there", e.Root),
			"make that file system anew with `mkfs.xfs -n ftype=1`"))
	}
	return orGood(list, "storage", e.Storage)
}

func (e Engine) cgroups() []Finding {
	if e.NoMemoryLimit {
		return []Finding{wrong("cgroups", Warn,
			"the kernel does not count the memory of containers: memory limits do nothing",
			"add cgroup_enable=memory swapaccount=1 to GRUB_CMDLINE_LINUX in /etc/default/grub, then",
			"update-grub", "systemctl reboot")}
	}
	return []Finding{good("cgroups", fmt.Sprintf("version %s, kept by %s", e.CgroupVersion, e.CgroupDriver))}
}

// older compares versions such as 20.10.24+dfsg1 by their first two numbers.
// A version without numbers, such as a development build, is not older.
func older(version, min string) bool {
	v, okV := numbers(version)
	m, okM := numbers(min)
	if !okV || !okM {
		return false
	}
	return v[0] < m[0] || v[0] == m[0] && v[1] < m[1]
}

func numbers(version string) (n [2]int, ok bool) {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return n, false
	}
	for i := range n {
		v, err := strconv.Atoi(parts[i])
		if err != nil {
			return n, false
		}
		n[i] = v
	}
	return n, true
}
