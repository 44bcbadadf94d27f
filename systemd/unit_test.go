package systemd

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

var manager = Unit{
	Role:        "manager",
	Program:     "/usr/local/bin/crawlbox",
	Args:        []string{"--queue"},
	Directories: []string{"/var/lib/crawlbox"},
	Keeper:      []string{"/var/lib/100% crawl/keeper", "keep", "--data-dir", "/var/lib/100% crawl"},
}

func service(u Unit) string { return u.Files()[0].Text }

func TestUnit_Files(t *testing.T) {
	t.Parallel()
	var names []string
	for _, f := range manager.Files() {
		names = append(names, f.Name)
		if !IsOurs(f.Text) {
			t.Errorf("%s is not as crawlbox wrote it", f.Name)
		}
		if strings.Contains(f.Text, "{{") || strings.Contains(f.Text, "\n\n\n") {
			t.Errorf("%s is badly rendered:\n%s", f.Name, f.Text)
		}
	}
	if want := []string{Service, Slice, Target, Upgrade}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	text := service(manager)
	for _, line := range []string{
		"Type=notify", "Restart=always", "StartLimitIntervalSec=0", "RestartPreventExitStatus=3 4",
		"Slice=crawlbox.slice",
		"ExecStart=/usr/local/bin/crawlbox manager --queue", "PrivateTmp=yes",
		"After=network-online.target docker.service",
	} {
		if !slices.Contains(lines(text), line) {
			t.Errorf("the service has no line %q", line)
		}
	}
	for _, bad := range []string{"Requires=", "ReadWritePaths=", "Wants=docker", "StartLimitBurst="} {
		if slices.ContainsFunc(lines(text), func(l string) bool { return strings.HasPrefix(l, bad) }) {
			t.Errorf("the service has a line %s", bad)
		}
	}
}

func TestUnit_Upgrade(t *testing.T) {
	t.Parallel()
	text := manager.Files()[3].Text
	for _, line := range []string{
		`ConditionPathExists=/var/lib/100%% crawl/keeper`,
		`ExecStart=/usr/bin/nice -n 0 "/var/lib/100%% crawl/keeper" keep --data-dir "/var/lib/100%% crawl"`,
		"Restart=on-failure", "WantedBy=crawlbox.target",
		"ReadWritePaths=/usr/local/bin", "NoNewPrivileges=yes", "After=network-online.target docker.service",
	} {
		if !slices.Contains(lines(text), line) {
			t.Errorf("the unit has no line %q:\n%s", line, text)
		}
	}
}

// TestUnit_WritesConfig has the service write the config file that a move or a restore brings.
func TestUnit_WritesConfig(t *testing.T) {
	t.Parallel()
	if line := "ConfigurationDirectory=docker/certs.d crawlbox"; !slices.Contains(lines(service(manager)), line) {
		t.Errorf("the unit has no line %q", line)
	}
}

func TestUnit_OpensDirectories(t *testing.T) {
	t.Parallel()
	u := manager
	u.Directories = []string{"/home/crawl box", "/homer", "/srv/x", "/etc/../usr/lib/x", "/tmp/queue"}
	text := service(u)
	var opened []string
	for _, line := range lines(text) {
		if directory, ok := strings.CutPrefix(line, "ReadWritePaths="); ok {
			opened = append(opened, directory)
		}
	}
	if want := []string{`"/home/crawl box"`, "/etc/../usr/lib/x"}; !slices.Equal(opened, want) {
		t.Errorf("opened %q, want %q", opened, want)
	}
	if strings.Contains(text, "PrivateTmp") {
		t.Error("a directory in /tmp would be another one for the service")
	}
}

func TestOurs_NotWhenEdited(t *testing.T) {
	t.Parallel()
	text := service(manager)
	for _, edited := range []string{
		"", "[Service]\nExecStart=/bin/true\n", text + "\n",
		strings.Replace(text, "WatchdogSec=60s", "WatchdogSec=90s", 1),
		strings.Replace(text, "sha256 ", "sha256 0", 1), text[1:], text[:len(text)-1],
	} {
		if IsOurs(edited) {
			t.Errorf("a unit that was edited passes: %.80q", edited)
		}
	}
}

func FuzzCommand(f *testing.F) {
	f.Add("a b", `\"%$`)
	f.Add("", "\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsAny(a+b, "\r\x00") {
			t.Skip("not in the arguments of a process, or not in a unit")
		}
		want := []string{"/x", a, b}
		if got := Command("ExecStart=" + Quote(want...) + "\n"); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for want, words := range map[string][]string{
		`a --b=c`:                           {"a", "--b=c"},
		`"" "a b"`:                          {"", "a b"},
		`"100%%" "$$HOME" "\"` + `\\n" ";"`: {"100%", "$HOME", `"\n`, ";"},
		`"line\nbreak"`:                     {"line\nbreak"},
		`"größe"`:                           {"größe"},
	} {
		if got := Quote(words...); got != want {
			t.Errorf("Quote(%q) = %s, want %s", words, got, want)
		}
	}
}

func TestCommand_IsWhatWasQuoted(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		nil, {
			"--queue",
		}, {"", "a b", `"`, `\`, "100%", "$HOME $$", "a\nb\tc", "größe", "--data-dir", "/home/my crawl/x=true"},
	} {
		u := manager
		u.Args = args
		want := append([]string{u.Program, u.Role}, args...)
		if got := Command(service(u)); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := Command("[Service]\nType=notify\n"); got != nil {
		t.Errorf("got %q of a unit without a command", got)
	}
}

func TestService_IsWhereOthersLook(t *testing.T) {
	t.Parallel()
	if path := filepath.Join(Dir, Service); path != naming.UnitFile {
		t.Errorf("the unit is %s, and others look for %s", path, naming.UnitFile)
	}
}

func TestRole(t *testing.T) {
	t.Parallel()
	worker := manager
	worker.Role = "worker"
	for unit, want := range map[string]string{
		service(manager): "manager", service(worker): "worker", "": "", "[Service]\nExecStart=/bin/true\n": "",
	} {
		if got := Role(unit); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	other := manager
	other.Args = []string{"--queue", "--registry-port", "8004"}
	want := []string{
		"- ExecStart=/usr/local/bin/crawlbox manager --queue",
		"+ ExecStart=/usr/local/bin/crawlbox manager --queue --registry-port 8004",
	}
	if got := Differences(service(manager), service(other)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := Differences(service(manager), service(manager)); got != nil {
		t.Errorf("a unit differs from itself: %q", got)
	}
}
