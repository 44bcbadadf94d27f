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

// TestReference holds the manual's page of commands to what the commands are.
func TestReference(t *testing.T) {
	t.Parallel()
	const page = "../help/commands.md"
	want := Reference(New(Env{}))
	if *update {
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
