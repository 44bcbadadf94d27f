package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func runGit(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git",
		append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", args, err, out)
	}
}

func TestRevision(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("this machine lacks git; .ci/deps installs it")
	}
	repo := directory(t, map[string]string{"spider/main.py": "", "other/main.py": "", ".gitignore": "*.log\n"})
	spider := filepath.Join(repo, "spider")
	write := func(path string) {
		if err := os.WriteFile(filepath.Join(repo, path), []byte("changed"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(want string) {
		t.Helper()
		if got, err := Revision(t.Context(), spider); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("got %q, %v; want %s", got, err, want)
		}
	}
	is := func(want string) {
		t.Helper()
		if got, err := Revision(t.Context(), spider); err != nil || !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("got %q, %v; want %s", got, err, want)
		}
	}

	fails("is in no git repository; run `git init`")
	runGit(t, repo, "init", "--quiet")
	fails("has no commit yet")
	runGit(t, repo, "add", ".")
	runGit(t, repo, "commit", "--quiet", "--message", "x")
	is(`^[0-9a-f]{7,}$`)
	write("other/main.py")
	write("spider/crawl.log")
	is(`^[0-9a-f]{7,}$`) // of another directory, and ignored
	write("spider/new.py")
	is(`^[0-9a-f]{7,}-dirty$`)
	runGit(t, repo, "add", ".")
	runGit(t, repo, "commit", "--quiet", "--message", "y")
	write("spider/main.py")
	is(`^[0-9a-f]{7,}-dirty$`)
}
