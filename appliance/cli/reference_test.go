package cli

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// TestReference holds the manual's page of commands to what the commands are.
func TestReference(t *testing.T) {
	t.Parallel()
	const page = "../help/commands.md"
	want := referencePage(New(command.Env{}))
	if *clitest.Update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != want {
		t.Fatal("appliance/help/commands.md does not list the commands as they are; make help writes it")
	}
}

func TestCommands_AreDescribed(t *testing.T) {
	t.Parallel()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			if c.Short == "" || strings.HasSuffix(c.Short, ".") {
				t.Errorf("%s: short description %q", c.CommandPath(), c.Short)
			}
			leaf := !c.HasSubCommands() && !c.Hidden && c.Name() != "help"
			if leaf && !strings.Contains(c.Example, strings.TrimSuffix(c.CommandPath(), " ls")) {
				t.Errorf("%s: its help has no example of it", c.CommandPath())
			}
			if c.Args == nil && c.Name() != "help" {
				t.Errorf("%s takes whatever arguments it is given", c.CommandPath())
			}
			for line := range strings.Lines(c.Long + "\n" + c.UsageString()) {
				if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > 80 {
					t.Errorf("%s: its help wraps at 80 columns: %q", c.CommandPath(), line)
				}
			}
			walk(c)
		}
	}
	walk(New(command.Env{}))
}
