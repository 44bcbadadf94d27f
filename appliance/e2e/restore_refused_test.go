package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/notice"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestRestore_Refused restores a cluster of two managers from a file, with another key, from a node that was
// removed, against a newer epoch and by a stranger's word, and wants each refused in a line and nothing to be
// changed. The manager that is left follows, and a node that joined after the backup hears what to do.
func TestRestore_Refused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 2)
	stays, removed, other := c.hosts[1], c.hosts[2], c.lab.AddHost()
	c.hosts = append(c.hosts, other)
	c.agents[other] = other.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
	c.awaitAgent(other)
	c.awaitState(c.manager, other)
	c.push("localhost:8003/s:1")
	c.run("deploy", "localhost:8003/s:1", "--name", "s", "--replicas", "2", "--monitor", "1s")
	c.awaitBackups("")
	removed.MustExec("sh", "-c", "ls /var/lib/crawlbox/backups/*")

	c.run("node", "rm", removed.Name(), "--force")
	key := c.run("recovery-key")
	c.run("backup", "/run/file")
	file := c.manager.ReadFile("/run/file")
	late := c.lab.AddHost()
	c.join(late)
	c.hosts = append(c.hosts, late)
	c.awaitReady(4)
	before, nodes := c.manager, c.nodeIDs()

	// A stranger's notice, by its own CA, and one that claims to be the cluster's.
	ca, err := pki.LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	n := notice.Notice{Epoch: 9, Managers: []netip.AddrPort{netip.MustParseAddrPort("10.99.66.6:7980")}}
	if n, err = n.Sign(ca); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*lab.Host{stays, other, before} {
		c.isTold(h, n, http.StatusForbidden)
	}
	if now := c.nodeIDs(); now != nodes {
		t.Errorf("a stranger's notice has changed the nodes from %s to %s", nodes, now)
	}

	before.PowerOff()
	h := c.lab.AddHost()
	h.WriteFile("/run/file", file)
	h.WriteFile("/run/key", key)
	h.WriteFile("/run/other", backup.NewKey().Reveal())
	for name, tc := range map[string]struct{ from, key, want string }{
		"another key":             {"/run/file", "/run/other", "that of another cluster"},
		"a node that was removed": {removed.IP().String(), "/run/key", "keeps no backup"},
	} {
		refused := c.fails(h, 1, "manager", "--restore", tc.from, "--recovery-key-file", tc.key)
		if !strings.Contains(refused, tc.want) {
			t.Errorf("%s: %s", name, refused)
		}
		if left := h.MustExec("sh", "-c", "ls /var/lib/crawlbox/state 2>/dev/null | wc -l"); left != "0" {
			t.Errorf("%s: something was changed: %s", name, left)
		}
	}

	c.manager = h
	c.startManager("--restore", "/run/file", "--recovery-key-file", "/run/key")
	c.awaitReady(3) // with the worker that stays, and the manager that is left
	lab.WaitFor(t, patience, "the manager that is left to follow", func() error {
		list := other.Exec(c.Context(), "crawlbox", "nodes").Stdout
		return want(strings.Contains(list, h.IP().String()), true)
	})
	lab.WaitFor(t, patience, "the service", func() error {
		return h.Exec(c.Context(), "crawlbox", "inspect", "s").Err()
	})
	c.awaitRunning("s", 2)
	if list := c.run("nodes"); strings.Contains(list, removed.Name()+" ") {
		t.Errorf("a node that was removed is in: %s", list)
	}

	// What was good once says nothing new.
	var good notice.Notice
	kept := stays.ReadFile("/var/lib/crawlbox/node/restored.json.followed")
	if err := json.Unmarshal([]byte(kept), &good); err != nil {
		t.Fatal(err)
	}
	if good.Epoch != 1 || good.Managers[0].Addr() != h.IP() {
		t.Fatalf("the newest notice is %+v", good)
	}
	c.isTold(stays, good, http.StatusConflict)
	good.Epoch = 2
	c.isTold(stays, good, http.StatusForbidden)

	// The same backup once more is of an older epoch than the nodes know.
	rival := c.lab.AddHost()
	rival.WriteFile("/run/file", file)
	rival.WriteFile("/run/key", key)
	nodes = c.nodeIDs()
	c.agents[rival] = rival.Start("crawlbox", "crawlbox", "manager", "--restore", "/run/file", "--recovery-key-file",
		"/run/key")
	c.awaitAgent(rival)
	lab.WaitFor(t, patience, "the rival to hear of it", func() error {
		status := rival.Exec(c.Context(), "crawlbox", "status").Stdout
		if !strings.Contains(strings.Join(strings.Fields(status), " "), "the backup is of an older epoch") {
			return fmt.Errorf("its status is %s", status)
		}
		return nil
	})
	if now := c.nodeIDs(); now != nodes {
		t.Errorf("an older epoch has changed the nodes from %s to %s", nodes, now)
	}

	lab.WaitFor(t, 2*patience, "the node that joined later to hear what to do", func() error {
		return want(strings.Contains(c.agents[late].Logs(), "joined after the backup was made: join it again"), true)
	})
	contains(t, c.fails(late, 1, "status"), "join it again with `crawlbox")
	c.agents[late].Kill()
	c.startWorker(late, "--join", c.token("worker"))
	c.awaitReady(4)
}

// isTold brings a node a notice, as somebody who has no certificate, and wants an answer.
func (c *cluster) isTold(h *lab.Host, n notice.Notice, code int) {
	c.Helper()
	body, err := json.Marshal(n)
	if err != nil {
		c.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext:     h.DialContext,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	defer client.CloseIdleConnections()
	url := "https://" + h.At(7980) + "/v1/notice"
	req, err := http.NewRequestWithContext(c.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != code || bytes.Count(said, []byte("\n")) > 1 {
		c.Errorf("%s answers %s, want %d: %s, %v", h.Name(), resp.Status, code, said, err)
	}
}
