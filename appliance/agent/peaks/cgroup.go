package peaks

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// kernel is where the kernel of this machine says what processes use.
type kernel struct {
	proc    string // /proc
	cgroups string // /sys/fs/cgroup
}

// group is the cgroup of a container.
type group struct {
	version int    // of cgroups: 1 or 2
	memory  string // its directory for memory; empty: that is not counted
	cpu     string // and for processor time
}

// maxFile bounds what is read of a file, in bytes. memory.stat, the longest, has 3 KiB.
const maxFile = 32 << 10

// find returns the cgroup of the container with an ID, of which pid is a process. A program that has taken that number
// since then is of no cgroup of that ID, so none is found; one in a cgroup below, as a container may make itself some,
// is of that of the container.
func (k kernel) find(pid int, id string) (g group, found bool) {
	text, err := contents(filepath.Join(k.proc, strconv.Itoa(pid), "cgroup"))
	if err != nil || id == "" {
		return g, false
	}
	dirs := map[string]string{}           // by controller; that of version 2 has no name
	for line := range bytes.Lines(text) { // NUMBER:CONTROLLERS:PATH
		_, rest, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ":")
		controllers, of, _ := strings.Cut(rest, ":")
		dir := upTo(of, id)
		if dir == "" {
			continue
		}
		for controller := range strings.SplitSeq(controllers, ",") {
			dirs[controller] = filepath.Join(k.cgroups, controller, dir)
		}
	}
	memory, cpu, both := dirs["memory"], dirs["cpuacct"], dirs[""]
	switch {
	case memory != "" || cpu != "": // where both versions are, one counts all
		return group{1, memory, cpu}, true
	case both != "":
		return group{2, both, both}, true
	}
	return g, false
}

// upTo returns the part of a path that ends with the element of a container's ID: ID itself, or docker-ID.scope where
// systemd keeps cgroups. It is empty where there is none.
func upTo(of, id string) string {
	of = path.Join("/", of)
	for dir := of; dir != "/"; dir = path.Dir(dir) {
		if name := path.Base(dir); name == id || strings.HasSuffix(name, "-"+id+".scope") {
			return dir
		}
	}
	return ""
}

// unknown is a number that the kernel does not say.
const unknown = -1

// reading is what the kernel says of a cgroup at a moment.
type reading struct {
	memory int64         // in use, in bytes; with what it keeps of files
	most   int64         // the highest that memory has been
	cache  int64         // of memory: what is kept of files and can be dropped at once
	cpu    time.Duration // processor time, since it was made
}

// read reads a cgroup. The error is fs.ErrNotExist where it has gone.
func (g group) read() (reading, error) {
	is := reading{memory: unknown, most: unknown, cpu: unknown}
	switch {
	case g.memory == "":
	case g.version == 1:
		is.memory = number(g.memory, "memory.usage_in_bytes")
		is.cache = max(0, field(g.memory, "memory.stat", "total_inactive_file"))
		is.most = number(g.memory, "memory.max_usage_in_bytes")
	default:
		is.memory = number(g.memory, "memory.current")
		is.cache = max(0, field(g.memory, "memory.stat", "inactive_file"))
		is.most = number(g.memory, "memory.peak") // Linux 5.19 and later
	}
	switch {
	case g.cpu == "":
	case g.version == 1:
		if n := number(g.cpu, "cpuacct.usage"); n >= 0 {
			is.cpu = time.Duration(n)
		}
	default:
		if n := field(g.cpu, "cpu.stat", "usage_usec"); n >= 0 && n < int64(1<<63-1)/1000 {
			is.cpu = time.Duration(n) * time.Microsecond
		}
	}
	if is.memory == unknown && is.cpu == unknown {
		for _, dir := range []string{g.memory, g.cpu} {
			if _, err := os.Stat(dir); dir != "" && !errors.Is(err, fs.ErrNotExist) {
				return is, nil // it is there, and says nothing
			}
		}
		return is, fs.ErrNotExist
	}
	return is, nil
}

// number returns the number that a file is.
func number(dir, name string) int64 {
	text, err := contents(filepath.Join(dir, name))
	if err != nil {
		return unknown
	}
	return parsed(bytes.TrimSpace(text))
}

// field returns the number that a file has behind a name, at the begin of a line.
func field(dir, name, of string) int64 {
	text, err := contents(filepath.Join(dir, name))
	if err != nil {
		return unknown
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(of+" ")); ok {
			return parsed(bytes.TrimSpace(rest))
		}
	}
	return unknown
}

func parsed(text []byte) int64 {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 {
		return unknown
	}
	return n
}

// contents returns the content of a file, unless it is too long.
func contents(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return bound.ReadAll(file, maxFile)
}
