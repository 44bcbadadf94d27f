package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/node"
)

const (
	JoinEnv = "CRAWLBOX_JOIN"
	// maxJoinFile bounds what is read as a join token, in bytes.
	maxJoinFile = 4096
)

// joinFlags adds what says where the join token is. --join-file is a key of the
// config too.
func joinFlags(cmd *cobra.Command, usage string) {
	cmd.Flags().String("join", "", usage)
	cmd.Flags().String("join-file", "", "`file` with the join token, - for stdin")
	_ = cmd.MarkFlagFilename("join-file")
}

// SetJoin takes the join token from the one place that has it, if any.
func SetJoin(a *command.App, cmd *cobra.Command, opts *node.Options) (err error) {
	flag, _ := cmd.Flags().GetString("join")
	env, file := os.Getenv(JoinEnv), opts.Config.JoinFile
	var given []string
	for _, place := range []struct{ name, value string }{
		{"--join", flag},
		{JoinEnv, env},
		{"join_file or --join-file", file},
	} {
		if place.value != "" {
			given = append(given, place.name)
		}
	}
	if len(given) > 1 {
		return command.Usagef(cmd, "the join token is given by %s; keep one of them", strings.Join(given, " and by "))
	}
	opts.Join = cmp.Or(flag, env)
	if len(given) == 0 {
		return installedJoin(opts)
	}
	if file == "" {
		return nil
	}
	named, _ := cmd.Flags().GetString("join-file")
	if named == "-" {
		opts.Config.JoinFile = ""
		opts.Join, err = joinFromStdin(a, cmd.Context())
		return err
	}
	opts.Join, err = joinFromFile(file, opts.Log)
	if named == "" && errors.Is(err, fs.ErrNotExist) {
		opts.Log.Warn("the join file is gone; a node that has joined does not need it", "join_file", file)
		return nil
	}
	return err
}

// JoinTokenPath returns where `crawlbox install` writes the join token for the service that
// it starts, so that it is neither in the unit nor among the arguments of a process.
func JoinTokenPath(dataDir string) string { return filepath.Join(dataDir, "join") }

// installedJoin reads the join token that was installed for this node, if any. For a user who
// may not read it, others explain why a node cannot be run.
func installedJoin(opts *node.Options) (err error) {
	opts.Join, err = joinFromFile(JoinTokenPath(opts.Config.DataDir), opts.Log)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// DeleteJoinToken deletes the join token that was installed for this node, once it has joined.
func DeleteJoinToken(dataDir string, log *slog.Logger) {
	if err := os.Remove(JoinTokenPath(dataDir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("failed to delete the join token that is used up", "error", err)
	}
}

func joinFromFile(path string, log *slog.Logger) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the join token: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		log.Warn("the join file is open to others than its owner; close it with `chmod 600`", "join_file", path, "mode",
			info.Mode().Perm().String())
	}
	return readJoin(f, path)
}

// readJoin takes a join token, or the whole line that `crawlbox token` prints.
// It never says what it has read.
func readJoin(r io.Reader, from string) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxJoinFile+1))
	join := strings.TrimSpace(words.WithoutMark(string(text)))
	if _, after, whole := strings.Cut(join, "--join "); whole {
		join = after
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("read the join token: %w", err)
	case len(text) > maxJoinFile:
		return "", fmt.Errorf("read the join token: %s has more than %d bytes; it should have nothing else", from,
			maxJoinFile)
	case join == "":
		return "", fmt.Errorf("read the join token: %s is empty; print one on the manager with `crawlbox token`", from)
	}
	return join, nil
}

// joinFromStdin reads a line from a terminal, and all of anything else. A read
// does not end with ctx, but the process does.
func joinFromStdin(a *command.App, ctx context.Context) (string, error) {
	if tui.IsTerminal(a.Env.Stdin) {
		fmt.Fprint(a.Env.Stderr, "Join token: ")
		return command.Ask(ctx, a.Env)
	}
	type result struct {
		join string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		join, err := readJoin(a.Env.Stdin, "standard input")
		read <- result{join, err}
	}()
	select {
	case r := <-read:
		return r.join, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
