package frame

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// tools lists the programs that hosts are made with.
var tools = []string{"bash", "ip", "mount", "iptables", "containerd", "dockerd", "docker"}

// CheckMachine returns an error that says what the machine lacks for a lab.
func CheckMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("hosts are made of namespaces and need root: run the tests as root")
	}
	return CheckTools(tools...)
}

// CheckTools returns an error that names the programs that are not there.
func CheckTools(names ...string) error {
	var missing []string
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this machine lacks %s: .ci/deps installs it", strings.Join(missing, ", "))
	}
	return nil
}

// limits lists the kernel's settings that all hosts share and that are too small
// for fifty: watchers of files are counted per user, and the neighbour tables of
// all namespaces have one bound.
var limits = []struct {
	key string
	min int
}{
	{"fs/inotify/max_user_instances", 8192},
	{"fs/inotify/max_user_watches", 524288},
	{"net/ipv4/neigh/default/gc_thresh3", 16384},
	{"net/ipv4/neigh/default/gc_thresh2", 8192},
	{"net/ipv4/neigh/default/gc_thresh1", 4096},
}

// RaiseLimits never lowers a limit. A refusal is only logged: a few hosts run
// without.
func RaiseLimits(t TB) {
	for _, limit := range limits {
		path := "/proc/sys/" + limit.key
		text, err := os.ReadFile(path)
		if err != nil {
			continue // not a key of this kernel
		}
		if now, _ := strconv.Atoi(string(bytes.TrimSpace(text))); now >= limit.min {
			continue
		}
		if err := os.WriteFile(path, []byte(strconv.Itoa(limit.min)), 0o644); err != nil {
			t.Logf("lab: raise %s to %d: %v", limit.key, limit.min, err)
		}
	}
}
