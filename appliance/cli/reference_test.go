package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

const readme = "../../README.md"

// TestReference holds the command reference, and the README's copy of it where
// there is a README, to what the commands are.
func TestReference(t *testing.T) {
	t.Parallel()
	want := Reference(New(Env{}))
	golden(t, "testdata/commands.md", want)
	text, err := os.ReadFile(readme)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	const mark = "<!-- commands -->\n"
	parts := strings.Split(string(text), mark)
	if len(parts) != 3 {
		t.Fatalf("README.md has %d marks %q, want 2 around its command reference", len(parts)-1, mark)
	}
	if strings.TrimSpace(parts[1]) == strings.TrimSpace(want) {
		return
	}
	if !*update {
		t.Fatal("the README's command reference is not true; go test ./appliance/cli -run TestReference -update writes it")
	}
	parts[1] = want
	if err := os.WriteFile(readme, []byte(strings.Join(parts, mark)), 0o644); err != nil {
		t.Fatal(err)
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
	walk(New(Env{}))
}

func TestNewLogger(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := newLogger(&out, slog.LevelWarn)
	log.Info("not this")
	log.Warn("this", "n", 1)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "this" {
		t.Errorf("a pipe gets %q", out.String())
	}
}

func TestRun_ExitCodes(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := Run(context.Background(), nil, nil, &out, &errs); code != exitDone || !strings.Contains(out.String(), "Usage:") {
		t.Errorf("no arguments: %d %s%s", code, out.String(), errs.String())
	}
	out.Reset()
	if code := Run(context.Background(), []string{"scale"}, nil, &out, &errs); code != exitUsage || out.Len() > 0 {
		t.Errorf("wrong usage: %d %s", code, out.String())
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	errs.Reset()
	code := Run(cancelled, []string{"--socket", "/none", "ls"}, nil, &out, &errs)
	if code != exitFailed || errs.String() != "crawlbox: interrupted\n" {
		t.Errorf("Ctrl-C: %d %s", code, errs.String())
	}
}
