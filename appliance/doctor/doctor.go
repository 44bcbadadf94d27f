// Package doctor holds the checks that are made before crawlbox changes
// anything on a machine. Each answers an error of one line that says what is
// wrong, where, and what to do, or nil.
package doctor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// MinEngine is the oldest Docker Engine that crawlbox works with.
const MinEngine = "20.10"

// Root checks that the process may set up a machine.
func Root() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return errors.New("crawlbox sets up Docker and needs root; run it with sudo")
}

// Engine checks a Docker Engine's version and its live-restore setting.
func Engine(version string, liveRestore bool) error {
	if older(version, MinEngine) {
		return fmt.Errorf("Docker Engine %s is too old, crawlbox needs %s or newer; upgrade it (apt-get install --only-upgrade docker.io)", version, MinEngine)
	}
	if liveRestore {
		return errors.New("live-restore is on, which Swarm excludes; take \"live-restore\" out of /etc/docker/daemon.json and run `systemctl reload docker`")
	}
	return nil
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
