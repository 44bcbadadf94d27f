package pieces

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPullClients pulls from a mirror with clients that are not Docker, by tag and by
// digest. On a node they reach the registry on the network only, see owner.Prover; what
// they ask is the same as there.
func TestPullClients(t *testing.T) {
	t.Parallel()
	c := startPullCluster(t)
	img := c.push("team/spider:0.01")
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		if _, err := exec.LookPath(args[0]); err != nil {
			t.Fatalf("this machine lacks %s; .ci/deps installs it", args[0])
		}
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, said.String())
		}
		return strings.TrimSpace(string(out))
	}
	for name, suffix := range map[string]string{"tag": ":0.01", "digest": "@" + digest.String()} {
		ref := func(c *pullCluster) string { return c.join().local.Listener.Addr().String() + "/team/spider" + suffix }
		t.Run("skopeo by "+name, func(t *testing.T) {
			to := "dir:" + t.TempDir()
			run(t, "skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://"+ref(c.sub(t)), to)
			if got := run(t, "skopeo", "inspect", "--format", "{{.Digest}}", to); got != digest.String() {
				t.Errorf("skopeo has %s, want %s", got, digest)
			}
		})
		t.Run("podman by "+name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "podman") // which takes no longer a path
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			podman := func(args ...string) string {
				t.Helper()
				return run(t, append([]string{"podman", "--root", filepath.Join(dir,
					"root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}, args...)...)
			}
			from := ref(c.sub(t))
			podman("pull", "--quiet", "--tls-verify=false", from)
			if got := podman("image", "inspect", "--format", "{{.Digest}}", from); got != digest.String() {
				t.Errorf("podman has %s, want %s", got, digest)
			}
		})
	}
}
