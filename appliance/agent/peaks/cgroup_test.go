package peaks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// machine is a /proc and a /sys/fs/cgroup of a test.
type machine struct {
	testing.TB
	kernel
}

func newMachine(t testing.TB) machine {
	dir := t.TempDir()
	return machine{t, kernel{filepath.Join(dir, "proc"), filepath.Join(dir, "cgroup")}}
}

func (m machine) write(path, text string) {
	m.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		m.Fatal(err)
	}
}

// process makes a process that is in cgroups.
func (m machine) process(pid int, list string) {
	m.Helper()
	m.write(filepath.Join(m.proc, fmt.Sprint(pid), "cgroup"), list)
}

// v1 and v2 make what a container is said to take.
func (m machine) v1(dir string, usage, cache, most int64, cpu time.Duration) {
	m.Helper()
	at := filepath.Join(m.cgroups, "memory", dir)
	m.write(filepath.Join(at, "memory.usage_in_bytes"), fmt.Sprintln(usage))
	m.write(filepath.Join(at, "memory.max_usage_in_bytes"), fmt.Sprintln(most))
	m.write(filepath.Join(at, "memory.stat"),
		fmt.Sprintf("cache 77\ninactive_file 5\ntotal_cache 1\ntotal_inactive_file %d\n", cache))
	m.write(filepath.Join(m.cgroups, "cpuacct", dir, "cpuacct.usage"), fmt.Sprintln(cpu.Nanoseconds()))
}

func (m machine) v2(dir string, usage, cache, most int64, cpu time.Duration) {
	m.Helper()
	at := filepath.Join(m.cgroups, dir)
	m.write(filepath.Join(at, "memory.current"), fmt.Sprintln(usage))
	m.write(filepath.Join(at, "memory.stat"), fmt.Sprintf("anon 7\ninactive_anon 9\ninactive_file %d\n", cache))
	m.write(filepath.Join(at, "cpu.stat"), fmt.Sprintf("usage_usec %d\nuser_usec 1\n", cpu.Microseconds()))
	if most >= 0 {
		m.write(filepath.Join(at, "memory.peak"), fmt.Sprintln(most))
	}
}

// v1List is what a process of a container is in where cgroups are of version 1.
func v1List(dir string) string {
	return "9:pids:" + dir + "\n5:memory:" + dir + "\n3:cpu,cpuacct:" + dir + "\n1:name=x:" + dir + "\n0::/other\n"
}

func TestFind(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	in := func(parts ...string) string { return filepath.Join(append([]string{m.cgroups}, parts...)...) }
	docker, scope := "/docker/"+id, "/system.slice/docker-"+id+".scope"
	for n, c := range []struct {
		name, list string
		want       group
	}{
		{"version 2 of systemd", "0::" + scope + "\n", group{2, in(scope), in(scope)}},
		{"version 2 of Docker", "0::" + docker + "\n", group{2, in(docker), in(docker)}},
		{"a cgroup that it made", "0::" + scope + "/init/deep\n", group{2, in(scope), in(scope)}},
		{"version 1", v1List("/lab/h1/" + id), group{1, in("memory/lab/h1", id), in("cpuacct/lab/h1", id)}},
		{"both", "1:name=systemd:" + docker + "\n0::" + docker + "\n", group{2, in(docker), in(docker)}},
		{"without memory", "3:cpuacct:" + docker + "\n0::" + docker + "\n", group{1, "", in("cpuacct", docker)}},
		{"without a line's end", "0::" + docker, group{2, in(docker), in(docker)}},
		{"another container", "0::/docker/" + strings.Repeat("f", 64) + "\n", group{}},
		{"another program", "0::/user.slice/session-1.scope\n", group{}},
		{"the name of another", "0::/docker/x" + id + "\n", group{}},
		{"outside of what is seen", "0::/../../" + id + "/../x\n", group{}},
		{"nonsense", "a\n::::\n\x00\n:memory\n0:\n", group{}},
		{"too long", strings.Repeat("1:x:/y\n", maxFile) + "0::" + docker + "\n", group{}},
		{"nothing", "", group{}},
	} {
		m.process(n+1, c.list)
		if got, found := m.find(n+1, id); got != c.want || found != (c.want.version > 0) {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, found, c.want)
		}
	}
	if got, found := m.find(99, id); found {
		t.Errorf("of a process that has ended: %+v", got)
	}
	if got, found := m.find(1, ""); found {
		t.Errorf("of no container: %+v", got)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.v1("/a", 100, 30, 200, 5*time.Second)
	m.v2("/a", 100, 30, 200, 5*time.Second)
	m.v2("/old", 100, 30, -1, 5*time.Second)
	in := func(dir string) string { return filepath.Join(m.cgroups, dir) }
	v1, v2 := group{1, in("memory/a"), in("cpuacct/a")}, group{2, in("a"), in("a")}
	old := group{2, in("old"), in("old")}
	for _, c := range []struct {
		name string
		of   group
		want reading
	}{
		{"version 1", v1, reading{100, 200, 30, 5 * time.Second}},
		{"version 2", v2, reading{100, 200, 30, 5 * time.Second}},
		{"before Linux 5.19", old, reading{100, unknown, 30, 5 * time.Second}},
		{"without memory", group{1, "", v1.cpu}, reading{unknown, unknown, 0, 5 * time.Second}},
		{"without processor time", group{1, v1.memory, ""}, reading{100, 200, 30, unknown}},
	} {
		if got, err := c.of.read(); got != c.want || err != nil {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	for _, odd := range []string{
		"", "\n", "max\n", "-5\n", "1e9\n", "12 13\n", "9223372036854775808\n", "0x1\n", strings.Repeat("1", maxFile+1),
	} {
		for _, name := range []string{"memory.current", "memory.peak"} {
			m.write(filepath.Join(v2.memory, name), odd)
		}
		m.write(filepath.Join(v2.memory, "memory.stat"), "inactive_file "+odd)
		m.write(filepath.Join(v2.memory, "cpu.stat"), "usage_usec "+odd)
		if got, err := v2.read(); got != (reading{unknown, unknown, 0, unknown}) || err != nil {
			t.Errorf("of %.20q: %+v, %v", odd, got, err)
		}
	}
	m.write(filepath.Join(v2.memory, "cpu.stat"), "usage_usec 9223372036854775807\n")
	if got, _ := v2.read(); got.cpu != unknown {
		t.Errorf("a time that no processor has had is %s", got.cpu)
	}
	if err := errors.Join(os.RemoveAll(v1.memory), os.RemoveAll(v1.cpu), os.RemoveAll(v2.memory)); err != nil {
		t.Fatal(err)
	}
	for _, g := range []group{v1, v2} {
		if _, err := g.read(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of one that has gone: %v", err)
		}
	}
}
