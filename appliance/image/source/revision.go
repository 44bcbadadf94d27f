package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// gitTime bounds a question to git: it may have to look at every file.
const gitTime = 30 * time.Second

// Revision returns the short name of the commit that a directory is at, such as 1f0c2d7, by
// the program git. It ends with -dirty if the directory has files that are changed or
// new since then, and that git does not ignore.
func Revision(ctx context.Context, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTime)
	defer cancel()
	if _, err := git(ctx, dir, "rev-parse", "--git-dir"); err != nil {
		return "", err
	}
	commit, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "--short", "HEAD")
	if err != nil {
		return "", fmt.Errorf("the git repository of %s has no commit yet; commit first, or leave the tag out", dir)
	}
	changed, err := git(ctx, dir, "status", "--porcelain", "--", ".")
	if err != nil {
		return "", err
	}
	if changed != "" {
		commit += "-dirty"
	}
	return commit, nil
}

// git runs git in a directory, and keeps it from writing there.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("there is no program git here; install it, or give another tag")
	case strings.Contains(said.String(), "not a git repository"):
		return "", fmt.Errorf("%s is in no git repository; run `git init` and commit there, or give another tag", dir)
	case err != nil:
		return "", fmt.Errorf("git %s in %s: %s", args[0], dir, words.OneLine(or(said.String(), err.Error())))
	}
	return strings.TrimSpace(out.String()), nil
}
