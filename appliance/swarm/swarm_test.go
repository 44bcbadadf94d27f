package swarm

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func env(vars map[string]string) func(string) string {
	return func(k string) string { return vars[k] }
}

// dockerConfig writes a ~/.docker with the contexts given.
func dockerConfig(t *testing.T, current string, hosts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(path, content string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "config.json"), `{"auths":{},"currentContext":"`+current+`"}`)
	for name, host := range hosts {
		sum := sha256.Sum256([]byte(name))
		meta := filepath.Join(dir, "contexts", "meta", hex.EncodeToString(sum[:]), "meta.json")
		write(meta, `{"Name":"`+name+`","Endpoints":{"docker":{"Host":"`+host+`"}}}`)
	}
	return dir
}

func TestFindEndpoint_InTheOrderOfTheDockerCommand(t *testing.T) {
	t.Parallel()
	dir := dockerConfig(t, "crawl", map[string]string{"crawl": "unix:///crawl.sock", "other": "tcp://10.0.0.1:2376"})
	for name, tc := range map[string]struct {
		host string
		env  map[string]string
		want string
	}{
		"config wins": {
			"unix:///config.sock", map[string]string{"DOCKER_HOST": "unix:///env.sock"}, "unix:///config.sock",
		},
		"DOCKER_HOST": {"", map[string]string{
			"DOCKER_HOST":   "unix:///env.sock",
			"DOCKER_CONFIG": dir,
		}, "unix:///env.sock"},
		"DOCKER_CONTEXT": {"", map[string]string{
			"DOCKER_CONTEXT": "other",
			"DOCKER_CONFIG":  dir,
		}, "tcp://10.0.0.1:2376"},
		"current context": {"", map[string]string{"DOCKER_CONFIG": dir}, "unix:///crawl.sock"},
		"default context": {"", map[string]string{
			"DOCKER_CONTEXT": "default",
			"DOCKER_CONFIG":  dir,
		}, "unix:///var/run/docker.sock"},
		"nothing": {"", map[string]string{"HOME": "/nonexistent"}, "unix:///var/run/docker.sock"},
	} {
		ep, err := findEndpoint(tc.host, env(tc.env))
		if err != nil || ep.host != tc.want {
			t.Errorf("%s: got %q, %v; want %q", name, ep.host, err, tc.want)
		}
	}
}

func TestFindEndpoint_UnknownContext(t *testing.T) {
	t.Parallel()
	dir := dockerConfig(t, "gone", nil)
	_, err := findEndpoint("", env(map[string]string{"DOCKER_CONFIG": dir}))
	if err == nil || !strings.Contains(err.Error(), `docker context "gone" does not exist`) {
		t.Fatalf("got %v", err)
	}
}

func TestOpen_NoEngineThere(t *testing.T) {
	t.Parallel()
	e, err := Open("unix://" + filepath.Join(t.TempDir(), "none.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Info(t.Context()); err == nil || !strings.Contains(err.Error(), ErrUnreachable.Error()) {
		t.Fatalf("got %v", err)
	}
}

func TestOpen_OverSSHIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := Open("ssh://root@example.org"); err == nil || !strings.Contains(err.Error(), "same machine") {
		t.Fatalf("got %v", err)
	}
}

func TestNatural(t *testing.T) {
	t.Parallel()
	names := []string{"h10", "h2", "a", "h1", "h", "h02b", "h2a"}
	slices.SortFunc(names, natural)
	if got := strings.Join(names, " "); got != "a h h1 h2 h2a h02b h10" {
		t.Errorf("got %s", got)
	}
}
