package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// TestExec runs programs in tasks, and has them say things that a terminal would obey.
func TestExec(t *testing.T) {
	t.Parallel()
	socket, stop, err := clitest.Serve(apitest.New(clitest.Now))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for name, tc := range map[string]struct {
		args []string
		out  string
		code int
		err  string
	}{
		"a program":        {[]string{"spider.1", "env"}, "env\n", 3, ""},
		"with its input":   {[]string{"-i", "spider.1", "cat"}, "cat\ntyped\n", 3, ""},
		"with flags":       {[]string{"spider.1", "ls", "-l", "--all"}, "ls\n", 3, ""},
		"behind --":        {[]string{"spider.1", "--", "ls", "-l"}, "ls\n", 3, ""},
		"none":             {[]string{"spider.1"}, "", 2, "exec needs a task and a program"},
		"none behind --":   {[]string{"spider.1", "--"}, "", 2, "exec needs a task and a program"},
		"a failed task":    {[]string{"broken.1", "ls"}, "", 1, "broken.1 is failed"},
		"without terminal": {[]string{"-it", "spider.1", "sh"}, "", 2, "the input is none"},
	} {
		var out, errs bytes.Buffer
		env := command.Env{Stdin: strings.NewReader("typed\n"), Stdout: &out, Stderr: &errs}
		code := execute(t.Context(), env, append([]string{"--socket", socket, "exec"}, tc.args...))
		if code != tc.code || out.String() != tc.out || !strings.Contains(errs.String(), tc.err) {
			t.Errorf("%s: exit code %d, %q, %q", name, code, out.String(), errs.String())
		}
	}

	const evil = "\x1b]0;PWNED\x07"
	for _, flags := range [][]string{nil, {"-t"}} {
		tty, shown := clitest.OpenTerminal(t, 80, 24)
		env := command.Env{Stdin: strings.NewReader(""), Stdout: tty, Stderr: tty}
		args := append([]string{"--socket", socket, "exec"}, flags...)
		if code := execute(t.Context(), env, append(args, "spider.1", evil)); code != 3 {
			t.Errorf("exit code %d: %q", code, shown())
			continue
		}
		if text := shown(); strings.Contains(text, evil) != (len(flags) > 0) {
			t.Errorf("with %v the terminal gets %q", flags, text)
		}
	}
}
