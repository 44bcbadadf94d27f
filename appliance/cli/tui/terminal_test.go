package tui

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
)

// TestTerminal_Neutral: what a terminal would obey is shown, whole or in parts.
func TestTerminal_Neutral(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain\ttext\n":                           "plain\ttext\n",
		"\x1b]0;PWNED\x07x":                       "^[]0;PWNED^Gx",
		"\x1b[2J\x1b[H\x1b[1A":                    "^[[2J^[[H^[[1A",
		"a\rb\x08\x00\x7f":                        "a^Mb^H^@\\u007f",
		"dos\r\n\r\nx\r\r\n":                      "dos\n\nx^M\n",
		"\u009b31m\u009d52;c;x\u009c":             "\\u009b31m\\u009d52;c;x\\u009c",
		"\x9b31m\xff":                             "\ufffd31m\ufffd",
		"\x1b[31mred\x1b[0m\n":                    "\x1b[31mred\x1b[0m\n",
		"\x1b[1;38;5;200mred\nnext":               "\x1b[1;38;5;200mred\x1b[0m\nnext",
		"\x1b[m\x1b[0;0m\n":                       "\x1b[m\x1b[0;0m\n",
		"\x1b[31m\x1b[0;32mgreen\n":               "\x1b[31m\x1b[0;32mgreen\x1b[0m\n",
		"\x1b[38:2::1:2:3mx\x1b[m":                "\x1b[38:2::1:2:3mx\x1b[m",
		"\x1b[" + strings.Repeat("1;", 40) + "mx": "^[[" + strings.Repeat("1;", 40) + "mx",
		"\u202eevil\u2066x\u2069\u200f":           "\\u202eevil\\u2066x\\u2069\u200f",
		"für €\U0001f577":                         "für €\U0001f577",
	} {
		for size := 1; size <= len(text); size++ {
			term := &Terminal{}
			var got []byte
			for i := 0; i < len(text); i += size {
				got = append(got, term.neutral([]byte(text[i:min(len(text), i+size)]))...)
			}
			if string(got) != want {
				t.Errorf("%q in parts of %d: %q, want %q", text, size, got, want)
			}
		}
	}
	bare := &Terminal{plain: true}
	if got := string(bare.neutral([]byte("\x1b[31mred\x1b[0m \x1b[2J\n"))); got != "red ^[[2J\n" {
		t.Errorf("without colours: %q", got)
	}
}

func FuzzTerminal(f *testing.F) {
	f.Add([]byte("\x1b]0;x\x07\x1b[31m\u009b\n"), 3)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		at = min(max(0, at), len(text))
		term := &Terminal{}
		out := string(append(term.neutral(text[:at]), term.neutral(text[at:])...))
		out = styles.ReplaceAllString(out, "")
		passes := func(r rune) bool { return obeyed(r) && r != '\n' && r != '\t' }
		if i := strings.IndexFunc(out, passes); i >= 0 {
			t.Errorf("%q passes in %q", out[i], out)
		}
	})
}

// TestTerminal_Widths: what others wrote takes the columns that it is counted with.
func TestTerminal_Widths(t *testing.T) {
	t.Parallel()
	evil := "h1\x1b[31m\x1b[2J\nh2\u202e"
	var out bytes.Buffer
	s := Screen{W: &out, Width: 20}
	table := Table{Columns: []Column{{Head: "NAME", Min: 4}, {Head: "STATE"}}}
	table.Add(Text(evil), Text("ready"))
	table.Note(evil)
	table.Write(s)
	WriteProblem(s, evil)
	out.WriteString(s.Fit(evil) + "\n")
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if len([]rune(line)) > 20 || strings.ContainsFunc(line, obeyed) {
			t.Errorf("%q", line)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 5 {
		t.Errorf("%d lines: %q", n, out.String())
	}
}

// TestGuard: our own painting works, and a pipe gets what was written.
func TestGuard(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("NO_COLOR", "")
	tty, shown := clitest.OpenTerminal(t, 60, 24)
	w := Guard(tty)
	s := NewScreen(w, nil, false)
	if !IsTerminal(w) || s.Width != 60 || s.Colors != 256 {
		t.Errorf("the screen is %+v", s)
	}
	for range 2 {
		if err := s.repaint(1, "note \x1b[2A\n"); err != nil {
			t.Error(err)
		}
	}
	if got, want := shown(), strings.Repeat("\x1b[1A\x1b[Jnote ^[[2A\n", 2); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if Guard(file) != any(file) {
		t.Error("a file is guarded")
	}
}
