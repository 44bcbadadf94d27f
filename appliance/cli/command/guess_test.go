package command

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestUnknownFirst wants a slip to be tried before anything is done, and nothing twice.
func TestUnknownFirst(t *testing.T) {
	t.Parallel()
	got := unknownFirst([]string{"b", "a", "x", "c", "a", "y", "x"}, []string{"a", "b", "c"})
	if want := []string{"x", "y", "b", "a", "c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestGuesses wants slips and other tools' words to be understood, and nothing that ends
// or removes to be offered for a word that means something else.
func TestGuesses(t *testing.T) {
	t.Parallel()
	root := &cobra.Command{Use: "crawlbox"}
	for name, others := range map[string][]string{
		"deploy": {"run", "up"}, "ls": {"list"}, "ps": {"top"}, "rm": nil, "stop": nil, "start": nil, "restart": nil,
		"logs": nil, "node": nil, "nodes": nil, "status": nil, "uninstall": nil, "install": nil, "upgrade": nil,
	} {
		root.AddCommand(&cobra.Command{Use: name, SuggestFor: others, Run: func(*cobra.Command, []string) {}})
	}
	for word, want := range map[string]string{
		"run":     "deploy",
		"up":      "deploy",
		"top":     "ps",
		"list":    "ls",
		"stpo":    "stop",
		"rn":      "rm",
		"nods":    "node nodes",
		"stat":    "status",
		"instal":  "install",
		"ninstal": "install",
		"deplyo":  "deploy",
		"x":       "",
		"explode": "",
	} {
		if got := strings.Join(Guesses(root, word), " "); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
	for _, word := range []string{"run", "top", "up", "exec", "tops", "om", "arm", "sop", "ls"} {
		for _, guess := range Guesses(root, word) {
			if slices.Contains(ends, guess) && guess[0] != word[0] {
				t.Errorf("%s: %s is offered", word, guess)
			}
		}
	}
}
