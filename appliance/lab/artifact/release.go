package artifact

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// DefaultRelease is the release of a host where nothing else is said.
const DefaultRelease = "bookworm"

// Release holds what is special about a release of a distribution.
type Release struct {
	*distribution
	// Unified gives the host cgroups of version 2 also where this machine has version 1,
	// as most of today's servers have them. New versions of systemd know no other.
	Unified bool
	// extra are more arguments of mmdebstrap.
	extra []string
}

// distribution says where a release comes from.
type distribution struct {
	keyring, keyringPackage string
	args                    []string // of mmdebstrap
}

var (
	debianServers = &distribution{
		keyring:        "/usr/share/keyrings/debian-archive-keyring.gpg",
		keyringPackage: "debian-archive-keyring",
	}
	ubuntuServers = &distribution{
		keyring:        "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
		keyringPackage: "ubuntu-keyring",
		args:           []string{"--components=main,universe"},
	}
)

// Releases lists what lab.Release takes.
var Releases = map[string]Release{
	"bullseye": {distribution: debianServers},
	"bookworm": {distribution: debianServers},
	"trixie":   {distribution: debianServers, Unified: true},
	// Its index is good for a week, and a mirror may be older.
	"forky": {distribution: debianServers, Unified: true, extra: []string{
		`--aptopt=Acquire::Check-Valid-Until "false"`,
	}},
	// dash of then fails without the directory of its page, which no host gets.
	"focal":    {distribution: ubuntuServers, extra: []string{`--setup-hook=mkdir -p "$1"/usr/share/man/man1`}},
	"jammy":    {distribution: ubuntuServers},
	"noble":    {distribution: ubuntuServers},
	"resolute": {distribution: ubuntuServers, Unified: true},
}

// System is a root file system in two layers, each a directory.
type System struct {
	Bare   string // systemd and what a server has, and Docker's packages in packagesDir
	Docker string // what their installation changes
}

// packagesDir is where a Systemd host has an apt repository with Docker's packages. It
// is the host's only one.
const packagesDir = "/opt/lab/packages"

// dockerPackages lists those that the distribution has Docker in. Where the command is
// a package of its own, docker.io recommends it.
const dockerPackages = "docker.io docker-cli"

// fetchDocker is a hook of mmdebstrap that fills packagesDir and lets apt know no other
// repository: a host has no Internet.
const fetchDocker = `set -e
cd "$1"; mkdir -p .` + packagesDir + `
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
known=$(apt-cache --generate pkgnames | grep -Fx "$(printf '%s\n' ` + dockerPackages + `)")
apt-get -q -y --download-only install $known
mv var/cache/apt/archives/*.deb .` + packagesDir + `
cd .` + packagesDir + `
for deb in *.deb; do
	dpkg-deb --field $deb
	printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' $deb $(stat -c %s $deb) $(sha256sum $deb | cut -d' ' -f1)
done >Packages
rm -f "$1"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:` + packagesDir + ` ./' >"$1"/etc/apt/sources.list`

// installDocker installs Docker over a bare system. Nothing is started.
const installDocker = `
dir=$1
mount --make-rprivate /
mkdir $dir/docker $dir/work $dir/root
mount -t overlay -o lowerdir=$dir/bare,upperdir=$dir/docker,workdir=$dir/work overlay $dir/root
mount --rbind /dev $dir/root/dev
mount -t proc proc $dir/root/proc
printf '#!/bin/sh\nexit 101\n' >$dir/root/usr/sbin/policy-rc.d
chmod 755 $dir/root/usr/sbin/policy-rc.d
exec >&2
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
	chroot $dir/root sh -ec 'apt-get -q update; apt-get -q -y install docker.io; apt-get clean; rm -rf /var/lib/apt/lists/*'
rm $dir/root/usr/sbin/policy-rc.d
cd /
umount $dir/root/proc
umount --lazy $dir/root/dev $dir/root
rm -rf $dir/work
rmdir $dir/root
`

// NewSystem returns the files of a release, which the first use on a machine fetches.
func NewSystem(t frame.TB, name string) (s System, err error) {
	from, ok := Releases[name]
	if !ok {
		return s, fmt.Errorf("the lab has no release %q, only %s", name,
			strings.Join(slices.Sorted(maps.Keys(Releases)), ", "))
	}
	if _, err := os.Stat(from.keyring); err != nil {
		return s, fmt.Errorf("release %s is checked with %s, which this machine lacks: install %s", name, from.keyring,
			from.keyringPackage)
	}
	args := slices.Concat([]string{
		"--include=apt,systemd,systemd-sysv,dbus,iproute2,ca-certificates,curl,iptables,procps",
		"--customize-hook=" + fetchDocker,
	}, from.args, from.extra)
	recipe := sha256.Sum256([]byte(strings.Join(args, "\n") + installDocker))
	dir, err := cached(fmt.Sprintf("system-%s-%x", name, recipe[:4]), func(path string) error {
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := bootstrap(t, name, filepath.Join(path, "bare"), args); err != nil {
			return err
		}
		cmd := exec.Command("unshare", "--mount", "bash", "-ec", installDocker, "lab", path)
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("install Docker: %w\n%s", err, output)
		}
		return nil
	})
	return System{Bare: filepath.Join(dir, "bare"), Docker: filepath.Join(dir, "docker")}, err
}
