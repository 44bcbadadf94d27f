package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestStaysOut puts nodes out of a cluster of three managers that do all they can to stay:
// a worker that lies about itself, a manager that is demoted and removed, and a worker
// that was a manager for a while and leaves. All have kept what they knew.
func TestStaysOut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "swarm:\n  heartbeat: 2s\n", 2)
	victim, liar := c.hosts[1], c.hosts[2]
	managers := c.lab.AddHosts(2)
	for _, h := range managers {
		c.hosts = append(c.hosts, h)
		c.agents[h] = h.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
		c.awaitAgent(h)
	}
	c.awaitReady(5)
	c.awaitAgents("alive")

	t.Run("a worker that lies", func(t *testing.T) { c.sub(t).liar(liar, victim) })
	t.Run("a manager that is demoted and removed", func(t *testing.T) { c.sub(t).demoted(managers[0], victim) })
	t.Run("a manager for a while", func(t *testing.T) { c.sub(t).managerForAWhile(victim) })
	t.Run("a node of docker's alone", func(t *testing.T) { c.sub(t).dockerAlone(liar) })
}

// post sends a value as the node that was robbed, and returns status and body.
func (s stolen) post(ctx context.Context, url string, body any) (code int, text string) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	data, err := json.Marshal(body)
	if err != nil {
		return 0, err.Error()
	}
	client := s.client(new(int))
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return 0, err.Error()
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(answer)
}

// renew asks for a certificate and a ticket, and says that the node is at an address.
func (s stolen) renew(t *testing.T, manager *lab.Host, addr netip.Addr) (code int, text string) {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, s.cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return s.post(t.Context(), "https://"+addrOf(manager, 7980)+"/v1/renew",
		map[string]any{"version": 1, "csr": csr, "addr": addr, "ticket": true})
}

// follow asks for news, and says what the node is in Swarm.
func (s stolen) follow(t *testing.T, manager *lab.Host, swarmID string) (code int, text string) {
	t.Helper()
	return s.post(t.Context(), "https://"+addrOf(manager, 7980)+"/v1/follow",
		map[string]any{"version": 1, "have": "", "swarm": swarmID})
}

// nodeID is Swarm's ID of a host.
func (c *cluster) nodeID(h *lab.Host) string {
	c.Helper()
	return h.Docker("info", "--format", "{{.Swarm.NodeID}}")
}

// swarmTokens are both that Swarm has now.
func (c *cluster) swarmTokens() [2]string {
	c.Helper()
	return [2]string{c.swarmToken("worker"), c.swarmToken("manager")}
}

// bothChanged wants none of the tokens from before to be good.
func (c *cluster) bothChanged(before [2]string, after string) {
	c.Helper()
	now := c.swarmTokens()
	for i, role := range []string{"worker", "manager"} {
		if now[i] == before[i] {
			c.Errorf("Swarm's token for a %s is the same after %s", role, after)
		}
	}
}

// awaitBound waits until the manager knows which node of Swarm a host is.
func (c *cluster) awaitBound(h *lab.Host) {
	c.Helper()
	id := c.nodeID(h)
	lab.WaitFor(c, patience, h.Name()+" to be bound to its node of Swarm", func() error {
		if list := c.manager.ReadFile("/var/lib/crawlbox/ca/members.json"); !strings.Contains(list, id) {
			return fmt.Errorf("%s is not in %s", id, list)
		}
		return nil
	})
}

// cannotComeBack has a host that was put out try with Docker's tokens from before. It tries the first,
// and machines beside it the others: Docker takes 10 s for each.
func (c *cluster) cannotComeBack(h *lab.Host, tokens ...string) {
	c.Helper()
	_ = h.Exec(c.Context(), "docker", "swarm", "leave", "--force")
	others := c.lab.AddHosts(len(tokens) - 1)
	var tries sync.WaitGroup
	for i, from := range append([]*lab.Host{h}, others...) {
		tries.Go(func() {
			ctx, cancel := context.WithTimeout(c.Context(), patience)
			defer cancel()
			said := from.Exec(ctx, "docker", "swarm", "join", "--token", tokens[i], c.manager.At(2377))
			if said.Code == 0 || !strings.Contains(said.Stderr, "join token") {
				c.Errorf("with old token %d of %s %s gets: %s%s", i, h.Name(), from.Name(), said.Stdout, said.Stderr)
			}
		})
	}
	tries.Wait()
	for _, other := range others {
		other.PowerOff()
	}
}

// isOut wants a stolen certificate to be of no use.
func (c *cluster) isOut(s stolen) {
	c.Helper()
	_, renewed := s.renew(c.T, c.manager, s.from.IP())
	_, followed := s.follow(c.T, c.manager, "")
	for what, said := range map[string]string{"a renewal": renewed, "news": followed} {
		if !strings.Contains(said, `"removed"`) {
			c.Errorf("asked for %s, the manager says to %s: %.300s", what, s.from.Name(), said)
		}
	}
}

// liar says that it is the victim in each way there is.
func (c *cluster) liar(h, victim *lab.Host) {
	c.Helper()
	c.awaitBound(h)
	c.awaitBound(victim)
	thief := steal(c.T, h)
	tokens, key := c.swarmTokens(), c.gossipKey()
	code, said := thief.renew(c.T, c.manager, victim.IP())
	var answer struct{ Certificate []byte }
	if err := json.Unmarshal([]byte(said), &answer); code != http.StatusOK || err != nil {
		c.Fatalf("a renewal with another's address: %d, %v", code, err)
	}
	leaf, err := x509.ParseCertificate(answer.Certificate)
	if err != nil || leaf.VerifyHostname(victim.IP().String()) == nil {
		c.Errorf("it got a certificate for another's address: %v", err)
	}
	if code, said := thief.follow(c.T, c.manager, c.nodeID(victim)); code != http.StatusForbidden ||
		!strings.Contains(said, `"bound"`) {
		c.Errorf("with another's place in Swarm: %d %.200s", code, said)
	}
	contains(c.T, c.manager.ReadFile("/var/lib/crawlbox/audit.log"), "binding refused")

	c.run("node", "rm", "--force", h.Name())
	c.isOut(thief)
	c.bothChanged(tokens, "the removal")
	c.settledKeys()
	if c.gossipKey() == key {
		c.Error("gossip has the same key")
	}
	list := c.hostnames()
	if strings.Contains(list, h.Name()) || !strings.Contains(list, victim.Name()) {
		c.Errorf("the nodes in Swarm are %s", list)
	}
	c.knowsRemoved(h)
	c.stop(h)
	c.cannotComeBack(h, tokens[:]...)
	c.awaitAgentOf(victim)
}

// awaitAgentOf wants a node that stays to be there as before.
func (c *cluster) awaitAgentOf(h *lab.Host) {
	c.Helper()
	lab.WaitFor(c, patience, h.Name()+" to be there", func() error {
		if a := c.node(h).Agent; a == nil || a.State != "alive" {
			return fmt.Errorf("gossip says %+v", a)
		}
		return nil
	})
}

// order has a thief with a manager's certificate ask a worker to end containers.
func (s stolen) order(t *testing.T, worker *lab.Host) string {
	t.Helper()
	code, text := s.post(t.Context(), "https://"+addrOf(worker, 7980)+"/v1/kill", map[string]any{"tasks": []string{}})
	return fmt.Sprintf("%d %s", code, text)
}

func (c *cluster) demoted(h, worker *lab.Host) {
	c.Helper()
	thief := steal(c.T, h)
	lab.WaitFor(c, patience, "the worker to obey the manager", func() error {
		if said := thief.order(c.T, worker); !strings.HasPrefix(said, "200 ") {
			return errors.New(said)
		}
		return nil
	})
	tokens := c.swarmTokens()
	c.run("node", "demote", "--force", h.Name())
	c.bothChanged(tokens, "the demotion")
	lab.WaitFor(c, 5*time.Second, "the worker to refuse who was a manager", func() error {
		if said := thief.order(c.T, worker); !strings.Contains(said, `"not-allowed"`) {
			return errors.New(said)
		}
		return nil
	})
	// It goes on as a worker, and gets no more than one.
	code, said := thief.renew(c.T, c.manager, h.IP())
	now := c.swarmTokens()
	if code != http.StatusOK || !strings.Contains(said, now[0]) || strings.Contains(said, now[1]) {
		c.Errorf("after its demotion it gets %d %.300s", code, said)
	}
	c.agents[h].Kill()
	c.agents[h] = h.Start("crawlbox", "crawlbox", "manager")
	c.awaitAgent(h)

	c.run("node", "rm", "--force", h.Name())
	c.isOut(thief)
	c.bothChanged(now, "the removal")
	c.stop(h)
	c.cannotComeBack(h, append(tokens[:], now[:]...)...)
}

// managerForAWhile is promoted, reads what a manager reads, is demoted by docker's own
// command, and leaves.
func (c *cluster) managerForAWhile(h *lab.Host) {
	c.Helper()
	c.run("node", "promote", "--force", h.Name())
	var tokens [2]string
	lab.WaitFor(c, patience, "what a manager knows", func() error {
		for i, role := range []string{"worker", "manager"} {
			said := h.Exec(c.Context(), "docker", "swarm", "join-token", "--quiet", role)
			if tokens[i] = strings.TrimSpace(said.Stdout); said.Code != 0 {
				return said.Err()
			}
		}
		return nil
	})
	c.awaitSeen(h)
	c.manager.Docker("node", "demote", h.Name())
	c.awaitTokens(tokens)
	tokens = c.swarmTokens()
	lab.WaitFor(c, patience, "leave", func() error { return h.Exec(c.Context(), "crawlbox", "leave").Err() })
	c.gone(h)
	c.bothChanged(tokens, "it left")
	c.cannotComeBack(h, tokens[:]...)
}

// dockerAlone is a node on which crawlbox never ran: there is no certificate to end, and
// that is said.
func (c *cluster) dockerAlone(h *lab.Host) {
	c.Helper()
	h.Docker("swarm", "join", "--token", c.swarmToken("worker"), c.manager.At(2377))
	lab.WaitFor(c, patience, h.Name()+" on the list", func() error {
		if list := c.hostnames(); !strings.Contains(list, h.Name()) {
			return errors.New(list)
		}
		return nil
	})
	id, tokens := c.nodeID(h), c.swarmTokens()
	contains(c.T, c.fails(c.manager, 1, "node", "rm", "--force", h.Name()), "no certificate", "nothing was changed",
		"docker node rm "+id)
	if list := c.hostnames(); !strings.Contains(list, h.Name()) || c.swarmTokens() != tokens {
		c.Error("something was changed")
	}
}
