package command

import (
	"maps"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestVariables holds the one rule for all flags that take NAME=VALUE.
func TestVariables(t *testing.T) {
	t.Setenv("CRAWLBOX_TEST_VARIABLE", "from here")
	got, err := Variables("env", []string{
		"A=1", "A=b=c", "B=", "my.var-2=two\nlines", "CRAWLBOX_TEST_VARIABLE", "CRAWLBOX_TEST_NONE",
	})
	want := map[string]string{"A": "b=c", "B": "", "my.var-2": "two\nlines", "CRAWLBOX_TEST_VARIABLE": "from here"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for text, says := range map[string]string{
		"":              `--env "": want NAME=VALUE`,
		"=secret":       `--env ""=…: want NAME=VALUE`,
		"A B=secret":    `--env "A B"=…: want`,
		"A\nB=secret":   `--env "A\nB"=…: want`,
		"A\x1b[2J":      `--env "A\x1b[2J": want`,
		"\xff=secret":   `--env "\xff"=…: want`,
		"A=secret\xff0": "--env: the value of A is not UTF-8",
	} {
		_, err := Variables("env", []string{text})
		if err == nil || !strings.HasPrefix(err.Error(), says) || strings.Contains(err.Error(), "secret") ||
			strings.ContainsAny(err.Error(), "\n\x1b") || !utf8.ValidString(err.Error()) {
			t.Errorf("%q: got %v, want %s", text, err, says)
		}
	}
}
