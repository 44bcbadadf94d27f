package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestBackup finds sealed backups of a manager on its workers, without anybody who asked for one.
func TestBackup(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig+"backup:\n  command: cat > /run/by-command\n", 2)
	before := c.awaitBackups("")
	for _, h := range c.hosts[1:] {
		listed := h.MustExec("sh", "-c", "stat -c %a /var/lib/crawlbox/backups/* | sort -u && "+
			"grep -hc 'PRIVATE KEY' /var/lib/crawlbox/backups/* | sort -u")
		if listed != "600\n0" {
			t.Errorf("on %s lies %q", h.Name(), listed)
		}
		contains(t, c.fails(h, 1, "recovery-key"), "look on a manager")
		contains(t, c.fails(h, 1, "backup", "ls"), "h1 ("+c.manager.IP().String()+")")
	}

	c.manager.WriteFile("/run/data", "of a config")
	c.manager.Docker("config", "create", "conf", "/run/data")
	c.manager.Docker("network", "create", "--driver", "overlay", "--attachable", "net")
	c.push("localhost:8003/s:1")
	c.manager.Docker("service", "create", "--detach", "--name", "s", "--network", "host", "localhost:8003/s:1")
	c.run("backup")
	c.awaitBackups(before)
	contains(t, c.run("backup", "ls"), "h2", "h3", "h1")

	contains(t, c.run("backup", "/run/file"), "wrote /run/file", "1 service")
	contains(t, c.fails(c.manager, 1, "backup", "/run/file"), "--force")
	key, err := backup.ParseKey(c.run("recovery-key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/run/file", "/run/by-command"} {
		content, err := backup.Read(strings.NewReader(c.manager.ReadFile(file)), key, nil)
		if err != nil {
			t.Fatal(err)
		}
		objects := content.Objects
		if len(objects.Services) != 1 || len(objects.Configs) != 1 || len(objects.Networks) != 1 ||
			len(content.Nodes) != 3 || content.Documents[state.Tokens] == nil ||
			!strings.Contains(string(content.Files[backup.ConfigFile]), password) {
			t.Errorf("%s has %s: %+v", file, content, objects)
		}
		contains(t, string(objects.Configs[0].Spec), `"Data":"b2YgYSBjb25maWc="`)
	}
	contains(t, c.manager.MustExec("crawlbox", "state", "show", state.Recovery), "********")
}

// TestBackup_Images restores a cluster with its images on a server that is alone: no node has them.
func TestBackup_Images(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 0)
	for n := 1; n <= 2; n++ {
		ref := fmt.Sprintf("localhost:8003/team/s:%d", n)
		c.manager.Load(artifact.TinyImage(t, ref, int64(n)<<20))
		c.manager.Docker("push", "--quiet", ref)
		c.run("deploy", ref, "--name", "s", "--replicas", "2", "--monitor", "1s")
	}
	c.push("localhost:8003/unused:1")
	contains(t, fails(t, c.manager, 2, "backup", "--images"), "FILE")
	contains(t, c.run("backup", "/run/file", "--images"), "2 images (")
	c.run("backup", "/run/bare")
	bare, whole := c.manager.ReadFile("/run/bare"), c.manager.ReadFile("/run/file")
	if len(whole) < len(bare)+3<<20 {
		t.Errorf("the backup has %d bytes with images, and %d without", len(whole), len(bare))
	}
	key := c.run("recovery-key")
	c.manager.PowerOff()

	h := c.lab.AddHost()
	h.WriteFile("/run/key", key)
	h.WriteFile("/run/cut", whole[:len(whole)-1])
	contains(t, fails(t, h, 1, "manager", "--restore", "/run/cut", "--recovery-key-file", "/run/key"), "cut or altered")
	if left := h.MustExec("sh", "-c", "ls -A /var/lib/crawlbox | wc -l"); left != "0" {
		t.Errorf("of a backup that is cut %s files are left", left)
	}
	h.WriteFile("/run/file", whole)
	c.manager, c.hosts = h, []*lab.Host{h}
	c.startManager("--restore", "/run/file", "--recovery-key-file", "/run/key")
	lab.WaitFor(t, patience, "the service",
		func() error { return h.Exec(t.Context(), "crawlbox", "inspect", "s").Err() })
	c.awaitRunning("s", 2)
	contains(t, c.run("images"), "team/s:1", "team/s:2")
	for n := 1; n <= 2; n++ { // the second runs, the first is one that may be gone back to
		h.Docker("pull", "--quiet", fmt.Sprintf("localhost:8003/team/s:%d", n))
	}
	c.run("rollback", "s") // to a version that was kept in the swarm before
	c.awaitRunning("s", 2)
	if r := h.Exec(t.Context(), "docker", "pull", "localhost:8003/unused:1"); r.Code == 0 {
		t.Error("an image came back that was not in the backup")
	}
}

// awaitBackups waits until the newest copy of each worker has one content, which is other than before, and
// returns that. How many copies there are follows from when the manager has looked what is new.
func (c *cluster) awaitBackups(before string) (content string) {
	c.Helper()
	lab.WaitFor(c, patience, "a new backup on each worker", func() error {
		var list []api.BackupHolder
		if err := json.Unmarshal([]byte(c.run("backup", "ls", "--json")), &list); err != nil {
			return err
		}
		content = ""
		for _, h := range list {
			if len(h.Copies) == 0 || h.Copies[0].Content == before || content != "" && h.Copies[0].Content != content {
				return fmt.Errorf("the nodes keep %+v", list)
			}
			content = h.Copies[0].Content
		}
		return want(len(list), len(c.hosts)-1)
	})
	return content
}
