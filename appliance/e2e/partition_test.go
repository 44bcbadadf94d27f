package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestPartition cuts Swarm's leader off from the two other managers: it changes nothing, says why, and reads on; the
// others go on. Once the cable is whole again all have one state, with all that was acknowledged and nothing else.
func TestPartition(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 0)
	managers := c.addManagers(2)
	c.push("localhost:8003/tiny:1")
	c.run("deploy", "localhost:8003/tiny:1", "--name", "tiny", "--replicas", "2", "--monitor", "1s")
	for _, n := range c.nodes() {
		if n.Leader != (n.Name == c.manager.Name()) {
			t.Fatalf("%s leads: %v", n.Name, n.Leader)
		}
	}
	minority, majority := managers[0], managers[1:]
	head := minority.MustExec("crawlbox", "state", "show")
	minority.Cut()

	begun := time.Now()
	var kept []string
	lab.WaitFor(t, patience, "a change on the majority's side", func() error {
		id, err := makeToken(t.Context(), majority[0])
		kept = append(kept, id)
		return err
	})
	t.Logf("the majority goes on after %s", time.Since(begun))
	for i := range 6 {
		id, err := makeToken(t.Context(), majority[i%2])
		if err != nil {
			t.Error(err)
		}
		kept = append(kept, id)
	}
	for _, change := range [][]string{{"token", "worker", "--uses", "1"}, {"registry", "login", "laptop"}} {
		begun := time.Now()
		refused := c.fails(minority, 1, change...)
		t.Logf("%s was refused after %s: %s", change[0], time.Since(begun), refused)
		if !strings.Contains(refused, "start") || !strings.Contains(refused, "managers") {
			t.Errorf("it does not say what to do: %s", refused)
		}
	}
	if now := minority.MustExec("crawlbox", "state", "show"); now != head {
		t.Errorf("the minority's state was\n%s\nand is\n%s", head, now)
	}
	contains(t, minority.MustExec("crawlbox", "history", "tiny"), "done")
	minority.MustExec("crawlbox", "token", "ls")
	minority.MustExec("crawlbox", "status")
	minority.MustExec("crawlbox", "ca")

	begun = time.Now()
	minority.Heal()
	lab.WaitFor(t, patience, "Swarm's leader to be known there", func() error {
		return minority.Exec(t.Context(), "docker", "node", "ls").Err()
	})
	t.Logf("Swarm is whole %s after the cable", time.Since(begun))
	c.awaitState(managers...)
	lab.WaitFor(t, patience, "one log on all managers", func() error {
		logs := map[string]bool{}
		for _, h := range managers {
			logs[fmt.Sprint(c.stateLog(h))] = true
		}
		return want(len(logs), 1)
	})
	t.Logf("all have one state %s after the cable was whole", time.Since(begun))
	for _, h := range managers {
		var list []token.Info
		askAPI(t, h, "GET", "/v1/tokens", nil, &list)
		have := map[string]bool{}
		for _, one := range list {
			have[one.ID] = true
			if one.Uses == 1 && one.Role == fleet.RoleWorker {
				t.Errorf("%s has token %s, which was refused", h.Name(), one.ID)
			}
		}
		for _, id := range kept {
			if id != "" && !have[id] {
				t.Errorf("%s has lost token %s", h.Name(), id)
			}
		}
		contains(t, h.MustExec("crawlbox", "history", "tiny"), "done")
	}
	if _, err := makeToken(t.Context(), minority); err != nil {
		t.Error("after the partition:", err)
	}
}
