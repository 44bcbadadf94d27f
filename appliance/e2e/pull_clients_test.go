package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestPullClients pulls on a worker with the clients that people have, by tag and by
// digest: with Docker from the worker's own registry, which serves nobody else, and
// with the others from the manager's, with a login.
func TestPullClients(t *testing.T) {
	t.Parallel()
	for _, client := range []string{"skopeo", "podman"} {
		if _, err := exec.LookPath(client); err != nil {
			t.Fatalf("this machine lacks %s: .ci/deps installs it", client)
		}
	}
	c := newCluster(t, "", 1)
	c.manager.Load(artifact.Versions(t, "localhost:8003/spider:1")[0])
	c.manager.Docker("push", "--quiet", "localhost:8003/spider:1")
	digest := c.image("spider", "1").Digest
	worker := c.hosts[1]
	var login api.RegistryLogin
	c.read(&login, "registry", "login", "clients")
	creds := login.User + ":" + login.Password
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		r := worker.Exec(t.Context(), args...)
		if r.Code != 0 {
			t.Fatalf("%s: %v", args[0], r.Err())
		}
		return strings.TrimSpace(r.Stdout)
	}

	for name, suffix := range map[string]string{"tag": "spider:1", "digest": "spider@" + digest} {
		public := c.public(suffix)
		t.Run("docker by "+name, func(t *testing.T) {
			run(t, "docker", "image", "prune", "--all", "--force")
			run(t, "docker", "pull", "--quiet", "localhost:8003/"+suffix)
			run(t, "docker", "image", "inspect", "localhost:8003/spider@"+digest)
		})
		t.Run("skopeo by "+name, func(t *testing.T) {
			to := "dir:/var/lib/skopeo-" + name
			run(t, "skopeo", "copy", "--quiet", "--src-creds", creds, "docker://"+public, to)
			if got := run(t, "skopeo", "inspect", "--format", "{{.Digest}}", to); got != digest {
				t.Errorf("skopeo has %s, want %s", got, digest)
			}
		})
		t.Run("podman by "+name, func(t *testing.T) {
			podman := func(args ...string) string {
				t.Helper()
				return run(t, append([]string{
					"podman", "--root", "/var/lib/podman-" + name, "--runroot", "/run/podman", "--storage-driver",
					"vfs",
				}, args...)...)
			}
			podman("pull", "--quiet", "--creds", creds, public)
			if got := podman("image", "inspect", "--format", "{{.Digest}}", public); got != digest {
				t.Errorf("podman has %s, want %s", got, digest)
			}
		})
	}
	if r := worker.Exec(t.Context(), "skopeo", "inspect", "--tls-verify=false",
		"docker://localhost:8003/spider:1"); r.Code == 0 {
		t.Error("the registry on loopback serves a program that is not Docker")
	}
}
