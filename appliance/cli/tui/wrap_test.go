package tui

import (
	"bytes"
	"strings"
	"testing"
)

// TestSay wants a sentence to be broken between words, and neither a command that fits into a line nor
// a word to be broken.
func TestSay(t *testing.T) {
	t.Parallel()
	long := "localhost:8003/spider@sha256:" + strings.Repeat("0", 64)
	for text, want := range map[string]string{
		"short":                             "short\n",
		"one two three four five six seven": "one two three four five six\n  seven\n",
		"take it off with `crawlbox node rm h2` now":      "take it off with\n  `crawlbox node rm h2` now\n",
		"run `crawlbox deploy --replicas 50 spider` then": "run `crawlbox deploy\n  --replicas 50 spider` then\n",
		"no such image: " + long + " on h2":               "no such image:\n  " + long + "\n  on h2\n",
	} {
		var out bytes.Buffer
		if err := (Screen{W: &out, Width: 30}).Say(text); err != nil || out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
		out.Reset()
		if err := (Screen{W: &out}).Say(text); err != nil || out.String() != text+"\n" {
			t.Errorf("a pipe gets %q", out.String())
		}
	}
}

func TestWriteMarked(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	WriteProblem(Screen{W: &out, Width: 20, Colors: 16}, "node h2 is down; 0123456789012345678 it")
	want := "  \x1b[31m!\x1b[0m node h2 is down;\n    0123456789012345\n    678 it\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// TestColumns: what is as wide as two letters makes no line longer than the screen, which would wrap
// where lines are painted over.
func TestColumns(t *testing.T) {
	t.Parallel()
	const text = "日本語 日本語日本語日本語 x"
	for width := 6; width < 20; width++ {
		s := Screen{Width: width}
		for _, line := range append(s.Wrap("!", text), s.Fit(text)) {
			if n := columns(line); n > width {
				t.Errorf("%q has %d columns of %d", line, n, width)
			}
		}
	}
	if got := cut("日本語x", 4, true); got != "…語x" {
		t.Errorf("got %q", got)
	}
	if got := cut("日本語x", 6, false); got != "日本…" {
		t.Errorf("got %q", got)
	}
}
