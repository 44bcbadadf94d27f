package queueproc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// TestSupervisor_Confined reads of the kernel what the real process has left.
func TestSupervisor_Confined(t *testing.T) {
	t.Parallel()
	testenv.Root(t)
	b := start(t, options(t, directory(t)))
	b.client().Set(t.Context(), "k", "v", 0)
	st := b.await("serve", serving)
	if len(st.Missing) > 0 {
		t.Errorf("this machine lacks %v", st.Missing)
	}
	who, err := findAccount()
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(strings.Repeat(fmt.Sprint(who.uid, " "), 4))
	for field, want := range map[string]string{
		"Uid": id, "Gid": id, "Groups": "", "NoNewPrivs": "1", "Seccomp": "2",
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapAmb": none,
	} {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", st.PID))
		for _, task := range tasks { // a thread that was forgotten is as good as none
			var tid int
			if _, err := fmt.Sscan(filepath.Base(task), &tid); err != nil {
				t.Fatal(err)
			}
			if got := status(t, tid, field); got != want {
				t.Errorf("thread %d has %s %q, want %q", tid, field, got, want)
			}
		}
	}
	proc := fmt.Sprintf("/proc/%d/", st.PID)
	if root, err := os.Readlink(proc + "root"); err != nil || root != b.dir {
		t.Errorf("its root is %s, %v, want %s", root, err, b.dir)
	}
	for _, ns := range []string{"net", "ipc"} {
		its, err := os.Readlink(proc + "ns/" + ns)
		ours, _ := os.Readlink("/proc/self/ns/" + ns)
		if err != nil || its == ours {
			t.Errorf("its namespace is %s, %v, and so is ours", its, err)
		}
	}
	if adj, err := os.ReadFile(proc + "oom_score_adj"); err != nil || strings.TrimSpace(string(adj)) != "900" {
		t.Errorf("its oom_score_adj is %s, %v", adj, err)
	}
	limits, err := os.ReadFile(proc + "limits")
	if err != nil || !strings.Contains(string(limits), "Max core file size        0                    0") {
		t.Errorf("its limits are %s, %v", limits, err)
	}
	for _, secret := range []string{"cmdline", "environ"} {
		if text, err := os.ReadFile(proc + secret); err != nil || strings.Contains(string(text), password) {
			t.Errorf("its %s is %q, %v", secret, text, err)
		}
	}
}

const none = "0000000000000000"

// TestSupervisor_SeveralPorts wants clients of all served, with one memory, also after the
// process was started again.
func TestSupervisor_SeveralPorts(t *testing.T) {
	t.Parallel()
	opts := options(t, directory(t))
	also, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { also.Close() })
	opts.Listeners = append(opts.Listeners, also)
	b := start(t, opts)
	other := *b
	other.addr = also.Addr().String()
	for _, round := range []string{"at first", "again"} {
		if err := b.client().Set(t.Context(), "k", round, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if v, err := other.client().Get(t.Context(), "k").Result(); err != nil || v != round {
			t.Errorf("%s, at the other port: %q, %v", round, v, err)
		}
		b.signal(syscall.SIGKILL)
	}
}

// TestJoin wants what any of several listeners accepts, and no more once it is closed.
func TestJoin(t *testing.T) {
	t.Parallel()
	var all []net.Listener
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ln)
	}
	j := join(all)
	for _, ln := range all {
		dialled, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := j.Accept()
		if err != nil || accepted.LocalAddr().String() != ln.Addr().String() {
			t.Errorf("got %v, %v", accepted, err)
		}
		accepted.Close()
		dialled.Close()
	}
	all[0].Close() // it fails, and the other goes on
	if _, err := j.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := j.Close(); err == nil {
		t.Error("one is closed already, and it does not say so")
	}
	if _, err := j.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("when closed: %v", err)
	}
}

// TestSupervisor_Killed wants the process alone started again, with its data, while
// clients wait.
func TestSupervisor_Killed(t *testing.T) {
	t.Parallel()
	b := start(t, options(t, directory(t)))
	c, ctx := b.client(), t.Context()
	was := b.await("serve", serving)
	for i := range 3 {
		if err := c.Set(ctx, fmt.Sprint("key", i), "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(600 * time.Millisecond) // what is older than a second survives a crash
	}
	b.signal(syscall.SIGKILL)
	if v, err := b.client().Get(ctx, "key1").Result(); err != nil || v != "value" { // it waits in the backlog
		t.Errorf("after a kill there is %q, %v", v, err)
	}
	// It is known when nobody was served.
	if out := b.Outages(); len(out) != 2 || !out[0].Restart || out[0].Ended.IsZero() || out[1].Restart ||
		out[1].Seen.Before(out[0].Ended) {
		t.Errorf("the outages are %+v", out)
	}
	if is := b.await("serve", serving); is.PID == was.PID || is.Restarts != 1 {
		t.Errorf("it was %+v and is %+v", was, is)
	}
}

// TestSupervisor_Stopped wants a clean end: nothing is lost, those who wait are told.
func TestSupervisor_Stopped(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	b := start(t, options(t, dir))
	for i := range 100 {
		if err := b.client().RPush(t.Context(), "list", i).Err(); err != nil {
			t.Fatal(err)
		}
	}
	b.signal(syscall.SIGTERM) // as systemd and a terminal send to all: of no effect
	b.signal(syscall.SIGINT)
	b.client().RPush(t.Context(), "list", "last")
	if st := b.State(); st.Restarts > 0 {
		t.Errorf("a signal that all get has ended it: %+v", st)
	}
	begun := time.Now()
	b.stop()
	if took := time.Since(begun); took > stopLimit {
		t.Errorf("the stop took %s", took)
	}
	again := start(t, options(t, dir))
	if n, err := again.client().LLen(t.Context(), "list").Result(); err != nil || n != 101 {
		t.Errorf("there are %d items, %v", n, err)
	}
}

// TestSupervisor_Damage wants the reason in the state, the supervisor running, and the
// queue back once somebody has done what the reason says.
func TestSupervisor_Damage(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	b := start(t, options(t, dir))
	for i := range 5 {
		b.client().Set(t.Context(), fmt.Sprint("key", i), "value", 0)
	}
	b.stop()
	path := filepath.Join(dir, "segment-0000000001")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := append([]byte{}, whole...)
	spoilt[40] ^= 0xff
	if err := os.WriteFile(path, spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
	b = start(t, options(t, dir))
	st := b.await("fail twice", func(st State) bool { return st.Restarts >= 2 && st.Problem != "" })
	if st.Serving || !strings.Contains(st.Problem, path+" is damaged at byte") ||
		!strings.Contains(st.Problem, "truncate") {
		t.Errorf("the state is %+v", st)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if st := b.await("serve", serving); st.Problem != "" || b.client().Get(t.Context(), "key4").Val() != "value" {
		t.Errorf("the state is %+v", st)
	}
}

// TestSupervisor_Directory refuses to give away what is not the queue's, and says what
// it can't use.
func TestSupervisor_Directory(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"another's file": {func(dir string) error {
			return os.WriteFile(dir+"/passwd", nil, 0o600)
		}, `not the queue's, "passwd"`},
		"a link": {func(dir string) error {
			return os.Symlink(secret, dir+"/segment-0000000001")
		}, `not the queue's, "segment-0000000001"`},
		"a second name": {func(dir string) error {
			return os.Link(secret, dir+"/segment-0000000001")
		}, `not the queue's, "segment-0000000001"`},
		"a directory": {func(dir string) error {
			return os.Mkdir(dir+"/snapshot-0000000001", 0o700)
		}, `not the queue's, "snapshot-0000000001"`},
		"a file": {func(dir string) error { return os.Remove(dir) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if err := os.WriteFile(dir, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				c.want = "queue.data_dir"
			}
			b := start(t, options(t, dir))
			if st := b.await("fail", failing); st.Serving || !strings.Contains(st.Problem, c.want) ||
				!strings.Contains(st.Problem, "queue.data_dir") {
				t.Errorf("the state is %+v", st)
			}
		})
	}
	var is syscall.Stat_t
	if err := syscall.Stat(secret, &is); err != nil || is.Uid != uint32(os.Getuid()) {
		t.Errorf("the file behind the links belongs to %d, %v", is.Uid, err)
	}
}

// TestSupervisor_Restored takes over what root has put into the directory, and leaves
// alone what the queue's user has: its links lead nowhere.
func TestSupervisor_Restored(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	b := start(t, options(t, dir))
	b.client().Set(t.Context(), "k", "v", 0)
	b.stop()
	secret := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Chown(filepath.Join(dir, "segment-0000000001"), os.Getuid(), os.Getgid()),
		os.Symlink(secret, filepath.Join(dir, "segment-x")), os.Link(secret, filepath.Join(dir, "segment-y")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b = start(t, options(t, dir))
	if st := b.await("serve", serving); b.client().Get(t.Context(), "k").Val() != "v" {
		t.Errorf("the state is %+v", st)
	}
	var is syscall.Stat_t
	if err := syscall.Stat(secret, &is); err != nil || is.Uid != uint32(os.Getuid()) {
		t.Errorf("the file behind the links belongs to %d, %v", is.Uid, err)
	}
}

// TestSupervisor_FullDisk has a disk on which no file can be made.
func TestSupervisor_FullDisk(t *testing.T) {
	t.Parallel()
	dir := testenv.SmallDisk(t, "nr_inodes=2")
	b := start(t, options(t, dir))
	if st := b.await("fail", failing); st.Serving || !strings.Contains(st.Problem, "no space left on device") ||
		!strings.Contains(st.Problem, dir) {
		t.Errorf("the state is %+v", st)
	}
	b.stop() // it no longer has a file open
}

// TestSupervisor_Hung wants a process that says nothing to be missed, and it alone
// replaced.
func TestSupervisor_Hung(t *testing.T) {
	t.Parallel()
	opts := options(t, directory(t))
	opts.Silence = 3 * time.Second
	b := start(t, opts)
	was := b.await("serve", serving)
	b.signal(syscall.SIGSTOP)
	b.await("be missed", func(st State) bool { return st.PID != was.PID && st.Serving })
	if err := b.client().Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// TestState_Outages wants one outage at a time, and the last ones of many.
func TestState_Outages(t *testing.T) {
	t.Parallel()
	var st State
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	for n := range 10 * keptOutages {
		st.down(fleet.Outage{Seen: at(3 * n)})
		st.down(fleet.Outage{Seen: at(3*n + 1)}) // it is away already
		st.up(at(3*n + 2))
	}
	last := st.Outages[len(st.Outages)-1]
	if want := 3 * (10*keptOutages - 1); len(st.Outages) != keptOutages || last.Seen != at(want) ||
		last.Ended != at(want+2) {
		t.Errorf("there are %d, the last one is %+v", len(st.Outages), last)
	}
}
