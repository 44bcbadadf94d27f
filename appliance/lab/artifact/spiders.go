package artifact

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// SpidersImage returns a tar file for docker import: Debian with all that
// crawlbox's own Dockerfiles ask of their base images, and Scrapy and redis-py,
// so that pip finds nothing left to do. It is one image for three: fewer packages
// to fetch, and one layer to push. The first use on a machine takes a minute.
func SpidersImage(t frame.TB) string {
	t.Helper()
	path, err := spidersImage(t)
	if err != nil {
		t.Fatalf("lab: image for spiders: %v", err)
	}
	return path
}

func spidersImage(t frame.TB) (string, error) {
	toolchain, err := copyOfGo()
	if err != nil {
		return "", err
	}
	return debian(t, "spiders",
		"--include=ca-certificates,python3,python3-pip,python3-redis,python3-scrapy,nodejs",
		"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", // otherwise a package does it, in 47 MB of Perl
		"--customize-hook="+packedNPM,
		"--customize-hook="+toolchain)
}

// packedNPM installs npm as the official images have it: packed by this machine's
// npm. Debian's is three hundred packages and 140 MB.
const packedNPM = `set -e; modules="$1"/usr/local/lib/node_modules; mkdir -p "$modules"; cd "$modules"
env -u TMPDIR npm pack --silent npm@10.9.4 >/dev/null
tar -xzf npm-10.9.4.tgz --no-same-owner; rm npm-10.9.4.tgz; mv package npm
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$1"/usr/local/bin/npm`

// copyOfGo returns a hook that copies of this machine's Go what builds a program,
// 110 MB. Debian's takes 450 MB and is too old for today's modules.
func copyOfGo() (hook string, err error) {
	output, err := exec.Command("go", "env", "GOVERSION", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go: %w", err)
	}
	version, root, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	return fmt.Sprintf(`set -e; : %s; mkdir -p "$1"/usr/local/go "$1"/usr/local/bin
cd '%s'
tar -cf "$1"/go.tar --exclude=testdata --exclude='*_test.go' --exclude=src/cmd VERSION go.env bin/go src lib/time pkg/include pkg/tool/*/asm pkg/tool/*/compile pkg/tool/*/link
tar -xf "$1"/go.tar -C "$1"/usr/local/go --no-same-owner; rm "$1"/go.tar
ln -s ../go/bin/go "$1"/usr/local/bin/go`, version, root), nil
}
