package help

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestTopics wants every file of the manual to be a topic, and each to have a title
// that says more than its name.
func TestTopics(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name, isPage := strings.CutSuffix(e.Name(), ".md")
		if topic, ok := Lookup(name); isPage && (!ok || len(topic.Title) < 12) {
			t.Errorf("%s: title %q", e.Name(), topic.Title)
		}
		if isPage && !strings.Contains(strings.Join(names, " ")+" ", name+" ") {
			t.Errorf("%s is not in the table of contents", e.Name())
		}
	}
	for _, topic := range Topics() {
		if topic.Text == "" {
			t.Errorf("%s is missing", topic.Name)
		}
	}
	if _, ok := Lookup("../help/deploy"); ok {
		t.Error("a path is no topic")
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	mark := func(text string) string { return "<" + text + ">" }
	tests := []struct {
		name, markdown, want string
		width                int
		styles               Styles
	}{
		{name: "title and paragraph", markdown: "# A title\n\nOne two\nthree.\n", want: "A TITLE\n\nOne two three.\n"},
		{name: "wraps", markdown: "one two three four", width: 10, want: "one two\nthree four\n"},
		{name: "keeps a short command together", markdown: "aa bb `c d` e", width: 10, want: "aa bb\n`c d` e\n"},
		{name: "breaks a long one", markdown: "`one two three four`", width: 10, want: "`one two\nthree\nfour`\n"},
		{name: "glues punctuation", markdown: "a (`b`), **c d**.", want: "a (`b`), c d.\n"},
		{name: "styles", markdown: "## H\n\n**a** `b c`", styles: Styles{mark, mark, mark}, want: "<H>\n\n<a> <b c>\n"},
		{name: "code", markdown: "```sh\na  b\n\n  c\n```\nend", want: "    a  b\n\n      c\n\nend\n"},
		{
			name:     "list",
			markdown: "Text:\n- one two\n  three\n- four\n\n1. five",
			width:    12,
			want:     "Text:\n\n  - one two\n    three\n  - four\n\n  1. five\n",
		},
		{
			name:     "links",
			markdown: "[a](deploy.md#x) [b](https://b.example) [c](../../C.md) [d](#d)",
			width:    100,
			want:     "a (crawlbox help deploy) b (https://b.example) c d\n",
		},
		{
			name:     "table",
			markdown: "| a | b |\n|---|---|\n| `x\\|y` | one two three four five |\n| z | |",
			width:    31,
			want:     "a      b\n`x|y`  one two three four five\nz\n",
		},
		{
			name:     "table without room",
			markdown: "| a | b | c |\n|---|---|---|\n| one | two | three |",
			width:    20,
			want:     "one\n    two\n    three\n",
		},
		{name: "comment", markdown: "a\n\n<!-- b -->\n\nc", want: "a\n\nc\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := Render(test.markdown, test.width, test.styles); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// TestRender_Width wants the text of all pages to fit a terminal; only blocks of code
// may be wider.
func TestRender_Width(t *testing.T) {
	t.Parallel()
	for _, topic := range Topics() {
		for _, width := range []int{60, 80, 200} {
			for line := range strings.Lines(Render(topic.Text, width, Styles{})) {
				line = strings.TrimSuffix(line, "\n")
				if n := utf8.RuneCountInString(line); n > min(width, maxWidth) && !strings.HasPrefix(line, "    ") {
					t.Errorf("%s at %d columns: %d: %s", topic.Name, width, n, line)
				}
			}
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, topic := range Topics() {
		f.Add(topic.Text, 80)
	}
	f.Add("|", 10)
	f.Add("```\n", 10)
	f.Fuzz(func(t *testing.T, markdown string, width int) {
		Render(markdown, width, Styles{})
	})
}
