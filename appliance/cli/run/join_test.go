package run

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/configs"
)

// joinOf returns the join token that a worker takes from a command line, the config
// and stdin, and what it logs.
func joinOf(t *testing.T, config configs.Config, stdin io.Reader, args ...string) (join, logged string, err error) {
	t.Helper()
	var log bytes.Buffer
	a := &command.App{Env: command.Env{Stdin: stdin, Stdout: io.Discard, Stderr: io.Discard}}
	cmd := &cobra.Command{Use: "worker", SilenceErrors: true, SilenceUsage: true}
	joinFlags(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if file, _ := cmd.Flags().GetString("join-file"); file != "" {
			config.JoinFile = file // as configs.Flags does
		}
		opts := node.Options{Config: config, Log: slog.New(slog.NewTextHandler(&log, nil))}
		err := SetJoin(a, cmd, &opts)
		join = opts.Join
		return err
	}
	cmd.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	err = cmd.ExecuteContext(t.Context())
	return join, log.String(), err
}

func TestSetJoin(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, open := file("good", " CBX1-FILE\n", 0o600), file("open", "CBX1-OPEN", 0o644)
	line, large := file("line", "crawlbox worker --join CBX1-LINE\n",
		0o400), file("large", strings.Repeat("secret", 1000), 0o600)
	none, empty := filepath.Join(dir, "none"), file("empty", "\n", 0o600)
	for _, tt := range []struct {
		name, env, config, stdin string
		args                     []string
		want, fails, logs        string
	}{
		{name: "nowhere"},
		{name: "a flag", args: []string{"--join", "CBX1-FLAG"}, want: "CBX1-FLAG"},
		{name: "an empty flag", args: []string{"--join="}, env: "CBX1-ENV", want: "CBX1-ENV"},
		{name: "the environment", env: "CBX1-ENV", want: "CBX1-ENV"},
		{name: "a file", args: []string{"--join-file", good}, want: "CBX1-FILE"},
		{name: "a file of the config", config: good, want: "CBX1-FILE"},
		{name: "a file with the whole line", config: line, want: "CBX1-LINE"},
		{name: "a file that others read", config: open, want: "CBX1-OPEN", logs: "chmod 600"},
		{
			name:  "stdin",
			args:  []string{"--join-file", "-"},
			stdin: "crawlbox worker --join CBX1-STDIN\n",
			want:  "CBX1-STDIN",
		},
		{name: "empty stdin", args: []string{"--join-file", "-"}, fails: "standard input is empty"},
		{name: "two", args: []string{"--join", "CBX1-FLAG"}, env: "CBX1-ENV", fails: "--join and by CRAWLBOX_JOIN"},
		{
			name:   "three",
			args:   []string{"--join", "CBX1-FLAG"},
			env:    "CBX1-ENV",
			config: good,
			fails:  "CRAWLBOX_JOIN and by join_file",
		},
		{name: "a file that is gone", config: none, logs: "the join file is gone"},
		{name: "a named file that is gone", args: []string{"--join-file", none}, fails: "no such file"},
		{name: "an empty file", config: empty, fails: "is empty"},
		{name: "another file", config: large, fails: "more than 4096 bytes"},
		{name: "a directory", config: dir, fails: "is a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(JoinEnv, tt.env)
			got, logged, err := joinOf(t, configs.Config{JoinFile: tt.config}, strings.NewReader(tt.stdin), tt.args...)
			if tt.fails == "" && (err != nil || got != tt.want) {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
			if tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails) ||
				strings.Contains(err.Error(), "secret")) {
				t.Errorf("got %v, want %s", err, tt.fails)
			}
			if !strings.Contains(logged, tt.logs) || tt.logs == "" && logged != "" || strings.Contains(logged, "CBX1") {
				t.Errorf("logged %q, want %q", logged, tt.logs)
			}
		})
	}
}

// TestJoinFromStdin_Interrupted has a stdin that never ends.
func TestJoinFromStdin_Interrupted(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	defer w.Close()
	a := &command.App{Env: command.Env{Stdin: r}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := joinFromStdin(a, ctx); err == nil {
		t.Error("a join token out of nothing")
	}
}
