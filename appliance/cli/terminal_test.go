package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

// onTerminal runs a command on a terminal of 60 columns.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	socket, stop, err := clitest.Serve(apitest.New(clitest.Now))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	tty, shown := clitest.OpenTerminal(t, 60, 24)
	env := command.Env{Stdin: tty, Stdout: tty, Stderr: tty, Now: func() time.Time { return clitest.Now }}
	code := execute(t.Context(), env, append(args, "--socket", socket))
	text := shown()
	if code != exitDone {
		t.Errorf("%v: exit code %d: %s", args, code, text)
	}
	return text
}

func TestTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("NO_COLOR", "")
	t.Run("tables fit and have colours", func(t *testing.T) {
		text := onTerminal(t, "nodes")
		if !strings.Contains(text, "\x1b[31mdown\x1b[0m") || strings.Contains(text, "slave-frankfurt-4") {
			t.Errorf("got %q", text)
		}
	})
	t.Run("logs have the colours of their tasks", func(t *testing.T) {
		want := "\x1b[" + tui.Screen{Colors: 256}.ColorOf("spider.1") + "mspider.1@h1 |\x1b[0m got: item of spider.1\n"
		if text := onTerminal(t, "logs", "spider.1"); !strings.Contains(text, want) {
			t.Errorf("got %q, want %q", text, want)
		}
	})
	t.Run("progress is repainted", func(t *testing.T) {
		text := onTerminal(t, "scale", "spider=50")
		if !strings.Contains(text, "spider: [=>                  ] 3/50 running  0.0s\n") {
			t.Errorf("got %q", text)
		}
		want := "spider: 50 running in 4.7s (p50 2.4s, p95 4.5s, slowest node\n  h2 4.7s)"
		if got := strings.Join(clitest.Display(text), "\n"); got != want {
			t.Errorf("the terminal shows %q, want %q", got, want)
		}
	})
	t.Run("an error is broken between its words", func(t *testing.T) {
		tty, shown := clitest.OpenTerminal(t, 40, 24)
		execute(t.Context(), command.Env{Stdin: tty, Stdout: tty, Stderr: tty}, []string{"nods"})
		want := "crawlbox: unknown command \"nods\" (did\n  you mean node or nodes?); see\n  'crawlbox --help'\n"
		if text := shown(); text != want {
			t.Errorf("got %q, want %q", text, want)
		}
	})
	t.Run("a question leaves names as they are", func(t *testing.T) {
		tty, shown := clitest.OpenTerminal(t, 80, 24)
		a := command.New(command.Env{Stdin: tty, Stdout: tty, Stderr: tty}, "")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		cmd := &cobra.Command{}
		cmd.SetContext(ctx)
		if err := a.Sure(cmd, command.Question{Why: "h3 leaves", Do: "go on"}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if text := shown(); !strings.HasPrefix(text, "h3 leaves. Go on? [y/N] ") {
			t.Errorf("got %q", text)
		}
	})
	t.Run("a token comes with what to do", func(t *testing.T) {
		if text := onTerminal(t, "token"); !strings.HasPrefix(text,
			"To join a worker, run this on it as root:\n\ncrawlbox worker") {
			t.Errorf("got %q", text)
		}
	})
	t.Run("a new token comes with how long and how often it is good", func(t *testing.T) {
		expires := clitest.Now.Add(24 * time.Hour).Local().Format(time.DateTime)
		want := "To join a manager, run this on it as root, until " + expires + ", for 2 nodes:\n\ncrawlbox manager"
		if text := onTerminal(t, "token", "manager", "--ttl", "1d", "--uses", "2"); !strings.HasPrefix(text, want) {
			t.Errorf("got %q", text)
		}
	})
	t.Run("a login comes with what to do", func(t *testing.T) {
		if text := onTerminal(t, "registry",
			"login"); !strings.HasPrefix(text,
			"Paste this on the machine that pushes to 10.77.0.11:8003:\n\n (as() {") {
			t.Errorf("got %q", text)
		}
	})
	t.Run("no colours when asked", func(t *testing.T) {
		if text := onTerminal(t, "nodes", "--no-color"); strings.Contains(text, "\x1b") {
			t.Errorf("got %q", text)
		}
		t.Setenv("NO_COLOR", "1")
		if text := onTerminal(t, "nodes"); strings.Contains(text, "\x1b") {
			t.Errorf("got %q", text)
		}
	})
	t.Run("no colours on a terminal that has none", func(t *testing.T) {
		t.Setenv("TERM", "dumb")
		for line := range strings.Lines(onTerminal(t, "status")) {
			if n := utf8.RuneCountInString(line); n > 61 || strings.Contains(line, "\x1b") {
				t.Errorf("%d columns: %q", n, line)
			}
		}
	})
	t.Run("the log is text", func(t *testing.T) {
		tty, shown := clitest.OpenTerminal(t, 80, 24)
		command.NewLogger(tty, nil).Info("hello", "n", 1)
		if text := shown(); !strings.Contains(text, "msg=hello n=1") {
			t.Errorf("got %q", text)
		}
	})
}
