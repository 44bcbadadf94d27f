package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// removal is a cluster in which one worker stays, one is removed and one leaves.
type removal struct {
	*cluster
	stays, removed, left *lab.Host
}

// TestRemoval puts a worker out of the cluster while another leaves it. Both lose
// all access at once, though thieves have copies of their directories, and the worker
// that stays notices nothing.
func TestRemoval(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 3)
	r := &removal{cluster: c, stays: c.hosts[1], removed: c.hosts[2], left: c.hosts[3]}
	c.awaitAgents("alive")
	c.push("localhost:8003/s:1")
	thieves := []stolen{steal(t, r.removed), steal(t, r.left)}
	for _, s := range thieves {
		r.hasAccess(s)
	}
	pass := r.pass(thieves[0])
	key, swarmToken := c.gossipKey(), c.swarmToken("worker")
	look := r.lookOn()

	r.removeBoth()
	if list := slices.Sorted(strings.FieldsSeq(c.hostnames())); !slices.Equal(list,
		[]string{c.manager.Name(), r.stays.Name()}) {
		t.Errorf("the nodes in Swarm are %v", list)
	}
	if c.swarmToken("worker") == swarmToken {
		t.Error("Swarm's own token is the same")
	}
	for _, s := range thieves {
		r.hasNone(s)
	}
	if said := thieves[0].ask(t.Context(), "GET", r.url(c.manager, 8003, "/v2/s/manifests/1"), "Authorization",
		"Bearer "+pass); !strings.HasPrefix(said, "401 ") {
		t.Errorf("a token from before the removal gets %.200q", said)
	}
	c.knowsRemoved(r.removed)
	r.noImages()
	c.settledKeys()
	if c.gossipKey() == key {
		t.Error("gossip has the same key")
	}
	r.gossipGoesOn()
	look.end(t)
	r.joinsAgain(thieves[0])
}

// removeBoth does it at the same time.
func (r *removal) removeBoth() {
	r.Helper()
	left := make(chan lab.Result, 1)
	go func() { left <- r.left.Exec(r.Context(), "crawlbox", "leave") }()
	contains(r.T, r.fails(r.manager, 1, "node", "rm", r.removed.Name()), "is up", "--force")
	r.run("node", "rm", "--force", r.removed.Name())
	if err := (<-left).Err(); err != nil {
		r.Errorf("leave: %v", err)
	}
	r.ended(r.left)
}

func (r *removal) url(h *lab.Host, port uint16, path string) string {
	return "https://" + h.At(port) + path
}

// questions are for nodes only. Each has a part of the answer to a node and of that
// to a removed one; a worker refuses other workers, but in other words.
func (r *removal) questions() map[string][2]string {
	return map[string][2]string{
		"GET " + r.url(r.manager, 7980, "/v2/s/tags/list"): {"200 ", `"removed"`},
		"POST " + r.url(r.stays, 7980, "/v1/owner"):        {`"not-allowed"`, `"removed"`},
		"GET " + r.url(r.manager, 8003, "/token"):          {"200 ", "401 "},
	}
}

func (r *removal) hasAccess(s stolen) {
	r.Helper()
	for question, said := range r.questions() {
		method, url, _ := strings.Cut(question, " ")
		if got := s.ask(r.Context(), method, url); !strings.Contains(got, said[0]) {
			r.Errorf("%s: the certificate of %s gets %.200q, want %s", question, s.from.Name(), got, said[0])
		}
	}
}

// hasNone wants the manager to refuse at once, and the worker as soon as it has
// heard the news.
func (r *removal) hasNone(s stolen) {
	r.Helper()
	for question, said := range r.questions() {
		method, url, _ := strings.Cut(question, " ")
		bound := time.Duration(0)
		if strings.Contains(url, r.stays.IP().String()) {
			bound = 3 * time.Second
		}
		lab.WaitFor(r, bound, question+" to be refused to "+s.from.Name(), func() error {
			if got := s.ask(r.Context(), method, url); !strings.Contains(got, said[1]) {
				return fmt.Errorf("it gets %.200q", got)
			}
			return nil
		})
	}
}

// pass is a token of the registry that a node has.
func (r *removal) pass(s stolen) string {
	r.Helper()
	_, body, _ := strings.Cut(s.ask(r.Context(), "GET", r.url(r.manager, 8003, "/token")), " ")
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		r.Fatalf("%v in %q", err, body)
	}
	if said := s.ask(r.Context(), "GET", r.url(r.manager, 8003, "/v2/s/manifests/1"), "Authorization",
		"Bearer "+answer.Token); !strings.HasPrefix(said, "200 ") {
		r.Errorf("a node's token gets %.200q", said)
	}
	return answer.Token
}

// noImages wants the removed node to get none that it does not have, and the other
// one to get it.
func (r *removal) noImages() {
	r.Helper()
	for ref, parts := range map[string][]string{
		"localhost:8003/s:1": {"refuses this node", "crawlbox status"},
		r.public("s:1"):      {"only nodes of the cluster read without a login"},
	} {
		ctx, cancel := context.WithTimeout(r.Context(), quick)
		defer cancel()
		said := r.removed.Exec(ctx, "docker", "pull", "--quiet", ref)
		r.Logf("docker pull: %s%s", said.Stdout, said.Stderr)
		if said.Code == 0 {
			r.Errorf("%s has pulled %s", r.removed.Name(), ref)
		}
		r.saysRefused(r.removed, said.Stderr, parts...)
		r.pull(r.stays, ref)
	}
}

// gossipKey is what stands in the manager's file.
func (c *cluster) gossipKey() string {
	c.Helper()
	return c.manager.ReadFile("/var/lib/crawlbox/gossip.json")
}

// gossipGoesOn has news travel from the node that stays to the manager, by the
// new key.
func (r *removal) gossipGoesOn() {
	r.Helper()
	r.stays.StopDocker()
	r.awaitDockerOf(r.stays, "stopped")
	r.stays.StartDocker()
	r.awaitDockerOf(r.stays, "running")
}

// knowsRemoved waits until a node says that it was removed.
func (c *cluster) knowsRemoved(h *lab.Host) {
	c.Helper()
	lab.WaitFor(c, patience, h.Name()+" to know that it was removed", func() error {
		said := h.Exec(c.Context(), "crawlbox", "status")
		if !strings.Contains(said.Stdout, "was removed from its cluster; run `crawlbox leave`") {
			return errors.New(said.Stdout + said.Stderr)
		}
		return nil
	})
}

// joinsAgain makes the removed worker a new node.
func (r *removal) joinsAgain(s stolen) {
	r.Helper()
	was := s.cert.Leaf.Subject.CommonName
	r.stop(r.removed)
	r.startWorker(r.removed, "--join", r.token("worker"))
	r.awaitReady(3)
	for _, m := range r.members() {
		if m.Name == r.removed.Name() && m.ID == was {
			r.Errorf("%s is the node it was: %s", r.removed.Name(), was)
		}
	}
	lab.WaitFor(r, patience, "its crawlbox", func() error {
		if a := r.node(r.removed).Agent; a == nil || a.State != "alive" {
			return fmt.Errorf("gossip says %+v", a)
		}
		return nil
	})
	r.pull(r.removed, "localhost:8003/s:1")
	if got := s.ask(r.Context(), "GET",
		r.url(r.manager, 7980, "/v2/s/tags/list")); !strings.Contains(got, `"removed"`) {
		r.Errorf("its old certificate gets %.200q", got)
	}
}

// lookout looks at the cluster until it is stopped or does not like what it sees.
type lookout struct {
	stop  chan struct{}
	ended chan error
	looks int
}

// lookOn looks whether the worker that stays is there, by all that manager and
// worker say.
func (r *removal) lookOn() *lookout {
	l := &lookout{stop: make(chan struct{}), ended: make(chan error, 1)}
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if err := r.look(); err != nil {
				l.ended <- err
				return
			}
			l.looks++
			select {
			case <-l.stop:
				close(l.ended)
				return
			case <-tick.C:
			}
		}
	}()
	return l
}

func (r *removal) look() error {
	var nodes []fleet.Node
	said := r.manager.Exec(r.Context(), "crawlbox", "nodes", "--json")
	if err := errors.Join(said.Err(), json.Unmarshal([]byte(said.Stdout), &nodes)); err != nil {
		return fmt.Errorf("crawlbox nodes: %w", err)
	}
	i := slices.IndexFunc(nodes, func(n fleet.Node) bool { return n.Addr == r.stays.IP().String() })
	if i < 0 || nodes[i].Agent == nil || nodes[i].Agent.State != "alive" {
		return fmt.Errorf("crawlbox nodes has %s", said.Stdout)
	}
	var st api.Status
	said = r.stays.Exec(r.Context(), "crawlbox", "status", "--json")
	if err := errors.Join(said.Err(), json.Unmarshal([]byte(said.Stdout), &st)); err != nil {
		return fmt.Errorf("crawlbox status: %w", err)
	}
	if text := fmt.Sprint(st.Problems); strings.Contains(text, "does not answer since") ||
		strings.Contains(text, "removed") {
		return fmt.Errorf("crawlbox status of %s has %s", r.stays.Name(), text)
	}
	return nil
}

// end wants each look to have been fine.
func (l *lookout) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	if err := <-l.ended; err != nil {
		t.Errorf("after %d good looks: %v", l.looks, err)
	}
	t.Logf("%d looks", l.looks)
	if l.looks < 10 {
		t.Errorf("there were only %d looks", l.looks)
	}
}
