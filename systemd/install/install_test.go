package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/durable/disktest"
	"github.com/crawlbox/crawlbox/systemd"
)

// box is a machine in a directory, with a systemctl that keeps what it is told. The one
// of a machine that boots is in the scenario TestInstall.
type box struct {
	*testing.T
	*Machine
	enabled, active bool
	packaged        bool // what dpkg is asked for
	commands        []string
	shows           []string // answers of systemctl show, the last one for ever
}

func newBox(t *testing.T) *box {
	b := &box{T: t, Machine: &Machine{Root: t.TempDir()}, shows: []string{"ActiveState=active"}}
	b.Command = b.answer
	b.put("/run/systemd/system/x", "", 0o644)
	b.put("/src/crawlbox", "program", 0o755)
	return b
}

func (b *box) answer(_ context.Context, argv ...string) (string, error) {
	switch argv[1] {
	case "--search":
		if !b.packaged {
			return "", errors.New("no path found")
		}
		return "docker.io: " + argv[2], nil
	case "is-enabled":
		return map[bool]string{true: "enabled\n", false: "disabled\n"}[b.enabled], nil
	case "is-active":
		return map[bool]string{true: "active\n", false: "inactive\n"}[b.active], nil
	case "show":
		now := b.shows[0]
		b.shows = b.shows[min(1, len(b.shows)-1):]
		return now, nil
	case "enable":
		b.enabled = true
	case "start", "restart":
		b.active = true
	case "disable", "stop":
		b.enabled, b.active = false, false
	}
	b.commands = append(b.commands, strings.Join(argv[1:], " "))
	return "", nil
}

func (b *box) put(path, text string, mode os.FileMode) {
	b.Helper()
	full := b.path(path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(text), mode)); err != nil {
		b.Fatal(err)
	}
}

func (b *box) wanted(args ...string) Wanted {
	return Wanted{
		Unit: systemd.Unit{Role: "worker", Program: Program, Args: args, Directories: []string{"/var/lib/crawlbox"},
			Keeper: []string{"/var/lib/crawlbox/upgrade/keeper", "keep"}},
		Self:       b.path("/src/crawlbox"),
		Config:     "# nothing\n",
		ConfigPath: "/etc/crawlbox/crawlbox.yaml",
		JoinPath:   "/var/lib/crawlbox/join",
	}
}

// install carries a plan out and returns it with the commands that it ran.
func (b *box) install(w Wanted) (Plan, []string) {
	b.Helper()
	p, err := b.Install(b.Context(), w)
	if err != nil {
		b.Fatal(err)
	}
	b.commands = nil
	if err := b.Do(b.Context(), p, func(Step) {}); err != nil {
		b.Fatal(err)
	}
	return p, b.commands
}

func (b *box) check(path, want string, mode os.FileMode) {
	b.Helper()
	text, err := b.read(path)
	info, statErr := os.Stat(b.path(path))
	if err := errors.Join(err, statErr); err != nil {
		b.Fatal(err)
	}
	if text != want || info.Mode().Perm() != mode {
		b.Errorf("%s has mode %o and says %.60q", path, info.Mode().Perm(), text)
	}
}

func TestInstall_OnABareMachine(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	w := b.wanted("--log-level", "debug")
	w.Join = "CBX1-SECRET"
	p, ran := b.install(w)
	b.check(Program, "program", 0o755)
	b.check(w.ConfigPath, w.Config, 0o640)
	b.check(w.JoinPath, "CBX1-SECRET\n", 0o600)
	for _, f := range w.Unit.Files() {
		b.check(unitPath(f.Name), f.Text, 0o644)
	}
	if want := []string{"daemon-reload", "enable crawlbox.service", "start --no-block crawlbox.service"}; !slices.Equal(
		ran, want) {
		t.Errorf("ran %q", ran)
	}
	for _, step := range p.Steps {
		if strings.Contains(step.String(), "SECRET") {
			t.Errorf("a dry run would say %q", step)
		}
	}
}

// TestInstall_User wants the user made once, by a command that a dry run shows, and
// only taken away with all state.
func TestInstall_User(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.put("/etc/passwd", "root:x:0:0::/root:/bin/sh\ncrawlbox-queue2:x:998:998::/:/bin/sh\n", 0o644)
	w := b.wanted()
	w.User = "crawlbox-queue"
	making := Run{
		"useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell",
		"/usr/sbin/nologin", "crawlbox-queue",
	}.String()
	steps := func(p Plan, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(p.Steps)
	}
	if p, err := b.Install(t.Context(), w); !strings.Contains(steps(p, err), making) {
		t.Errorf("an install does %s", steps(p, err))
	}
	b.put("/etc/passwd", "root:x:0:0::/root:/bin/sh\ncrawlbox-queue:x:998:998::/:/bin/sh\n", 0o644)
	if p, err := b.Install(t.Context(), w); strings.Contains(steps(p, err), "useradd") {
		t.Errorf("with the user there an install does %s", steps(p, err))
	}
	for _, purge := range []bool{false, true} {
		p, err := b.Uninstall(t.Context(), Unwanted{ConfigPath: w.ConfigPath, User: w.User, Purge: purge})
		if got := steps(p, err); strings.Contains(got, "userdel crawlbox-queue") != purge {
			t.Errorf("purge %v: an uninstall does %s", purge, got)
		}
	}
}

// TestDo_PowerCut cuts the power when an install and when an uninstall has ended.
func TestDo_PowerCut(t *testing.T) {
	t.Parallel()
	d := disktest.New(t, 8)
	b := newBox(t)
	b.Root = d.Dir
	b.put("/run/systemd/system/x", "", 0o644)
	b.put("/src/crawlbox", "program", 0o755)
	w := b.wanted()
	w.Join = "CBX1-SECRET"
	b.install(w)
	cut := func() *box { return &box{T: t, Machine: &Machine{Root: d.Cut().Dir}} }
	if after := cut().files(); !slices.Equal(after, b.files()) {
		t.Errorf("after a power cut there is\n%q, want\n%q", after, b.files())
	}
	p, err := b.Uninstall(t.Context(), Unwanted{ConfigPath: w.ConfigPath, JoinPath: w.JoinPath, Purge: true})
	if err == nil {
		err = b.Do(t.Context(), p, func(Step) {})
	}
	if err != nil {
		t.Fatal(err)
	}
	if after := cut().files(); !slices.Equal(after, b.files()) {
		t.Errorf("after an uninstall and a power cut there is\n%q, want\n%q", after, b.files())
	}
}

// TestInstall_SweepsWhatWasCutOff finds a program and a unit that were half written.
func TestInstall_SweepsWhatWasCutOff(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	half, unit, other := "/usr/local/bin/.crawlbox123", systemd.Dir+"/.crawlbox.service45", "/usr/local/bin/.crawlboxrc"
	for _, path := range []string{half, other} {
		b.put(path, "", 0o600)
	}
	b.install(b.wanted())
	if b.exists(half) || !b.exists(other) {
		t.Errorf("an install leaves %q", b.files())
	}
	for _, path := range []string{half, unit, "/usr/local/bin/.crawlbox.old6"} {
		b.put(path, "", 0o600)
	}
	p, err := b.Uninstall(t.Context(), Unwanted{ConfigPath: b.wanted().ConfigPath, Purge: true})
	if err == nil {
		err = b.Do(t.Context(), p, func(Step) {})
	}
	if want := []string{"/run/systemd/system/x", "/src/crawlbox", other}; err != nil || !slices.Equal(b.files(), want) {
		t.Errorf("an uninstall leaves %q, %v; want %q", b.files(), err, want)
	}
}

func TestInstall_AgainChangesWhatDiffers(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.install(b.wanted())
	b.put("/etc/crawlbox/crawlbox.yaml", "queue:\n", 0o640)
	if p, _ := b.install(b.wanted()); len(p.Steps)+len(p.Notes) > 0 {
		t.Errorf("the same again gives %q %q", p.Steps, p.Notes)
	}
	p, ran := b.install(b.wanted("--node-port", "7000"))
	if want := []string{"daemon-reload", "restart --no-block crawlbox.service"}; !slices.Equal(ran, want) {
		t.Errorf("other flags run %q", ran)
	}
	if said := strings.Join(p.Notes, "\n"); !strings.Contains(said, "- ExecStart=/usr/local/bin/crawlbox worker\n") ||
		!strings.Contains(said, "worker --node-port 7000") {
		t.Errorf("it says %q", said)
	}
	b.check("/etc/crawlbox/crawlbox.yaml", "queue:\n", 0o640)

	b.put("/src/crawlbox", "newer", 0o755)
	if _, ran := b.install(b.wanted("--node-port", "7000")); !slices.Equal(ran,
		[]string{"restart --no-block crawlbox.service"}) {
		t.Errorf("another program runs %q", ran)
	}
	b.check(Program, "newer", 0o755)
	b.active = false
	if _, ran := b.install(b.wanted("--node-port", "7000")); !slices.Equal(ran,
		[]string{"start --no-block crawlbox.service"}) {
		t.Errorf("a service that was stopped runs %q", ran)
	}
}

func TestInstall_KeepsAnEditedUnit(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.install(b.wanted())
	path := unitPath(systemd.Service)
	text, _ := b.read(path)
	edited := strings.Replace(text, "WatchdogSec=60s", "WatchdogSec=5min", 1)
	b.put(path, edited, 0o644)
	p, ran := b.install(b.wanted("--node-port", "7000"))
	b.check(path, edited, 0o644)
	if said := strings.Join(p.Notes, "\n"); !strings.Contains(said, "edited by hand") ||
		!strings.Contains(said, "+ ExecStart=/usr/local/bin/crawlbox worker --node-port 7000") {
		t.Errorf("it says %q", said)
	}
	if len(ran) > 0 {
		t.Errorf("it runs %q", ran)
	}
}

func TestInstall_AnotherRoleIsRefused(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.install(b.wanted())
	w := b.wanted()
	w.Unit.Role = "manager"
	if _, err := b.Install(t.Context(), w); err == nil || !strings.Contains(err.Error(), "installed as a worker") {
		t.Errorf("got %v", err)
	}
}

func TestDo_StopsAtTheFirstError(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.put("/etc/file", "", 0o644)
	p := Plan{Steps: []Step{Write{"/etc/file/below", "", 0o644}, Run{"systemctl", "daemon-reload"}}}
	err := b.Do(t.Context(), p, func(Step) {})
	if err == nil || !strings.HasPrefix(err.Error(), "write /etc/file/below, mode 0644: ") {
		t.Errorf("got %v", err)
	}
	if len(b.commands) > 0 {
		t.Errorf("went on to %q", b.commands)
	}
	if err := readOnly(&os.PathError{Op: "open", Path: "x", Err: syscall.EROFS},
		Program); !strings.Contains(err.Error(), "read-only; make it writable") {
		t.Errorf("a read-only /usr is told as %v", err)
	}
}

func TestAwait(t *testing.T) {
	t.Parallel()
	const auto = "ActiveState=activating\nSubState=auto-restart\nStatusText=failed: no manager\nNRestarts="
	for name, c := range map[string]struct {
		shows     []string
		says, err string
	}{
		"ready": {
			[]string{"ActiveState=activating\nStatusText=joining", "ActiveState=active\nStatusText=ready"},
			"joining ready",
			"",
		},
		"about to restart": {
			[]string{
				"ActiveState=active\nStatusText=ready\nJob=12", "ActiveState=activating\nStatusText=joining\nJob=12",
				"ActiveState=active\nStatusText=ready",
			},
			"joining ready",
			"",
		},
		"failed before": {
			[]string{"ActiveState=failed\nStatusText=failed: revoked\nJob=12", "ActiveState=active\nStatusText=ready"},
			"ready",
			"",
		},
		"one failure passes": {
			[]string{auto + "1", auto + "1", "ActiveState=active\nStatusText=ready"},
			"failed: no manager ready",
			"",
		},
		"three failures are told": {
			[]string{auto + "1", auto + "2", auto + "3"},
			"failed: no manager",
			"fails at each start: no manager; `journalctl -u crawlbox` tells more",
		},
		"a unit that is no good": {[]string{"ActiveState=failed"}, "", "does not start: it has said nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.shows = c.shows
			var said []string
			err := b.Await(t.Context(), func(s string) { said = append(said, s) })
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			if got := strings.Join(said, " "); got != c.says {
				t.Errorf("says %q, want %q", got, c.says)
			}
		})
	}
	b := newBox(t)
	b.shows = []string{"ActiveState=activating\nStatusText=joining"}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 1, errors.New("waited long"))
	defer cancel()
	if err := b.Await(ctx, func(string) {}); err == nil || !strings.Contains(err.Error(), "not ready yet (joining)") ||
		!strings.Contains(err.Error(), "waited long") {
		t.Errorf("got %v", err)
	}
}

// TestStarts: a service serves soon while systemd has it run or start, and not once it has ended.
func TestStarts(t *testing.T) {
	t.Parallel()
	for show, want := range map[string]bool{
		"ActiveState=active":                  true, // it begins anew
		"ActiveState=activating":              true,
		"ActiveState=inactive\nJob=12":        true,
		"ActiveState=inactive":                false,
		"ActiveState=failed\nSubState=exited": false,
	} {
		b := newBox(t)
		b.shows = []string{show}
		if got := b.Starts(t.Context()); got != want {
			t.Errorf("%q: %t", show, got)
		}
	}
}
