package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// access is a manager, a host that joins it and one that is never let in.
type access struct {
	*cluster
	worker, outside      *lab.Host
	once, short, revoked api.Token // for one node, for two seconds, for nobody
}

// TestAccess shows who is let into a cluster and its registry, and that all
// others are told why not, leave a line in the audit log and keep their machine
// as it was.
func TestAccess(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 0)
	hosts := c.lab.AddHosts(2)
	a := &access{cluster: c, worker: hosts[0], outside: hosts[1]}
	a.short, a.once, a.revoked = a.issue("--ttl", "2s"), a.issue("--uses", "1"), a.issue("--ttl", "1h")

	t.Run("impostor", func(t *testing.T) { a.in(t).impostor() })
	t.Run("join", func(t *testing.T) { a.in(t).joins() })
	t.Run("tokens that are no good", func(t *testing.T) { a.in(t).noGood() })
	t.Run("every try in the audit log", func(t *testing.T) { a.in(t).audited() })
	t.Run("token ls", func(t *testing.T) { a.in(t).listed() })
	t.Run("refused before any connection", func(t *testing.T) { a.in(t).unasked() })
	t.Run("joined already", func(t *testing.T) { a.in(t).joinedAlready() })
	t.Run("too many wrong secrets", func(t *testing.T) { a.in(t).tooMany() })
	t.Run("login at the registry", func(t *testing.T) { a.in(t).registryLogin() })
	t.Run("nodes at the registry", func(t *testing.T) { a.in(t).registryNodes() })
}

// in is the same in a subtest.
func (a *access) in(t *testing.T) *access {
	s := *a
	s.cluster = a.sub(t)
	return &s
}

// refused runs crawlbox on a host, which must say all parts in one line and leave
// the host as it was.
func (a *access) refused(h *lab.Host, args []string, parts ...string) {
	a.Helper()
	b := &badInput{a.cluster, h}
	b.refused(h, args, parts...)
}

// issue makes a token for workers.
func (a *access) issue(args ...string) (token api.Token) {
	a.Helper()
	a.read(&token, append([]string{"token", "worker"}, args...)...)
	return token
}

// alter changes a join token, and makes its checksum right again.
func alter(t *testing.T, text string, change func(*token.JoinToken)) string {
	t.Helper()
	s, err := token.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	change(&s)
	if text, err = s.Reveal(); err != nil {
		t.Fatal(err)
	}
	return text
}

func wrongSecret(s *token.JoinToken) { s.Secret[0]++ }

// impostor has the manager of another cluster answer at the address of the join
// string. It must not even hear which token it is.
func (a *access) impostor() {
	impostor := a.outside
	a.agents[impostor] = impostor.Start("crawlbox", "crawlbox", "manager")
	a.awaitAgent(impostor)
	text := alter(a.T, a.token("worker"), func(s *token.JoinToken) {
		s.Managers = []netip.AddrPort{netip.AddrPortFrom(impostor.IP(), 7980)}
	})
	a.refused(a.worker, worker(text), impostor.At(7980), "CA fingerprint mismatch", "nothing was sent",
		"crawlbox token")
	for _, e := range audited(a.T, impostor) {
		if strings.HasPrefix(e.Event, "join") {
			a.Errorf("the impostor was asked: %+v", e)
		}
	}
	a.reset(impostor)
	impostor.MustExec("test", "!", "-e", "/etc/docker/certs.d") // nothing is left in it
}

// joins lets one node in, with a token for one. No other process can read the
// string in the arguments of crawlbox.
func (a *access) joins() {
	a.startWorker(a.worker, "--join", a.once.Join)
	a.awaitReady(2)
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", a.agents[a.worker].PID()))
	if err != nil {
		a.Fatal(err)
	}
	contains(a.T, string(args), "crawlbox\x00worker\x00--join\x00")
	if strings.Contains(string(args), "CBX") || strings.Contains(string(args), a.once.Join[10:30]) {
		a.Errorf("the arguments of the worker are %q", args)
	}
}

// noGood tries tokens that were good once, or never, from all places that a join
// string can stand in.
func (a *access) noGood() {
	a.run("token", "revoke", a.revoked.ID)
	lab.WaitFor(a, patience, "a token to expire",
		func() error { return want(a.tokenStates()[a.short.ID].State, token.StateExpired) })
	standing, swarm := a.token("worker"), a.swarmToken("worker")
	contains(a.T, a.run("token", "rotate", "worker"), "crawlbox worker --join CBX1-")
	if now := a.swarmToken("worker"); now == swarm {
		a.Error("Swarm's own token is the same after the rotation")
	}
	if now := a.token("worker"); now == standing {
		a.Error("the standing join token is the same after the rotation")
	}
	file, whole := "/etc/join", "/etc/join-line"
	a.outside.WriteFile(file, standing+"\n")
	a.outside.WriteFile(whole, a.revoked.Command+"\n")

	a.refused(a.outside, worker(a.once.Join), "has reached its use limit", "crawlbox token")
	a.refused(a.outside, []string{"env", "CRAWLBOX_JOIN=" + a.short.Join, "crawlbox", "worker"}, "has expired",
		"crawlbox token")
	a.outside.MustExec("chmod", "600", file, whole)
	a.refused(a.outside, []string{"worker", "--join-file", file}, "was revoked", "crawlbox token")
	a.refused(a.outside, []string{"env", "sh", "-c", "crawlbox worker --join-file - <" + whole}, "was revoked",
		"crawlbox token")
	a.refused(a.outside, worker(alter(a.T, a.token("worker"), wrongSecret)), "the secret in the join token is wrong")
	a.refused(a.outside, worker(alter(a.T, a.token("manager"), func(s *token.JoinToken) { s.Role = "worker" })),
		"is for another role", "crawlbox token worker")
	a.refused(a.outside, worker(alter(a.T, a.token("worker"), func(s *token.JoinToken) { s.Token = "aaaaaaaa" })),
		"does not know this join token")
}

// swarmToken is what Docker alone joins with.
func (c *cluster) swarmToken(role string) string {
	c.Helper()
	return c.manager.Docker("swarm", "join-token", "--quiet", role)
}

func (a *access) tokenStates() map[string]token.Info {
	a.Helper()
	var list []token.Info
	a.read(&list, "token", "ls")
	states := map[string]token.Info{}
	for _, info := range list {
		states[info.ID] = info
	}
	return states
}

// record is a line of an audit log.
type record struct {
	Event, Remote, Reason, Token, Name string // of a try to join
	Method, Path, User                 string // of a call of the local API
	UID                                *int
}

func audited(t *testing.T, h *lab.Host) (list []record) {
	t.Helper()
	for line := range strings.Lines(h.ReadFile(auditLog)) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s of %s: %v in %q", auditLog, h.Name(), err, line)
		}
		list = append(list, r)
	}
	return list
}

const auditLog = "/var/lib/crawlbox/audit.log"

// tries are those to join from a host, by reason and token.
func (a *access) tries(h *lab.Host) (list []string) {
	a.Helper()
	for _, r := range audited(a.T, a.manager) {
		from, _ := netip.ParseAddrPort(r.Remote)
		if strings.HasPrefix(r.Event, "join") && from.Addr() == h.IP() {
			list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Event, r.Reason, r.Token)))
		}
	}
	return list
}

// audited wants a line for each try that there was until now.
func (a *access) audited() {
	standing := a.standing("worker", token.StateGood)
	a.wantTries(a.outside,
		"join refused used-up "+a.once.ID,
		"join refused expired "+a.short.ID,
		"join refused revoked "+a.standing("worker", token.StateRevoked),
		"join refused revoked "+a.revoked.ID,
		"join refused bad-secret "+standing,
		"join refused wrong-role "+a.standing("manager", token.StateGood),
		"join refused unknown-token aaaaaaaa",
	)
	a.wantTries(a.worker, "join  "+a.once.ID)
}

func (a *access) wantTries(h *lab.Host, tries ...string) {
	a.Helper()
	if got := a.tries(h); !slices.Equal(got, tries) {
		a.Errorf("the audit log has of %s\n%s\nwant\n%s", h.Name(), strings.Join(got, "\n"), strings.Join(tries, "\n"))
	}
}

// standing is the ID of a standing token.
func (a *access) standing(role, state string) string {
	a.Helper()
	for id, info := range a.tokenStates() {
		if info.Standing && info.Role == role && info.State == state {
			return id
		}
	}
	a.Fatalf("no standing token for a %s is %s", role, state)
	return ""
}

// listed tokens have no secret, in either form.
func (a *access) listed() {
	text, asJSON := a.run("token", "ls"), a.run("token", "ls", "--json")
	states := a.tokenStates()
	for id, state := range map[string]string{a.once.ID: "used up", a.short.ID: "expired", a.revoked.ID: "revoked"} {
		if got := states[id].State; got != state {
			a.Errorf("token %s is %q, want %q", id, got, state)
		}
		line := ""
		for l := range strings.Lines(text) {
			if strings.HasPrefix(l, id) {
				line = l
			}
		}
		contains(a.T, line, "worker", state)
	}
	contains(a.T, text, "ID", "ROLE", "STATE", "EXPIRES", "USES", "1/1", " *")
	for _, out := range []string{text, asJSON} {
		if p := strings.ToLower(out); strings.Contains(p, "cbx1") || strings.Contains(p, "secret") ||
			strings.Contains(p, "hash") {
			a.Errorf("the list shows more than it should:\n%s", out)
		}
	}
}

// unasked strings are found out on the machine itself.
func (a *access) unasked() {
	good := a.token("worker")
	other := "A"
	if good[20:21] == other {
		other = "B"
	}
	a.outside.Cut()
	begun := time.Now()
	a.refused(a.outside, worker(good[:20]+other+good[21:]), "typing error", "checksum", "copy the whole line again")
	a.refused(a.outside, worker(a.token("manager")), "is for a manager", "crawlbox manager --join",
		"crawlbox token worker")
	a.refused(a.outside, []string{"manager", "--join", good}, "is for a worker", "crawlbox worker --join",
		"crawlbox token manager")
	if took := time.Since(begun); took > 4*time.Second { // a connection is tried for longer
		a.Errorf("it took %s to find out", took)
	}
	a.outside.Heal()

	a.outside.Docker("swarm", "init", "--advertise-addr", a.outside.IP().String())
	b := &badInput{a.cluster, a.outside}
	b.says(a.outside, 1, worker(good), "in another swarm", a.outside.IP().String(), "docker swarm leave")
	a.outside.Docker("swarm", "leave", "--force")
	b.untouched(a.outside)
	if n := len(a.tries(a.outside)); n != 7 {
		a.Errorf("%d tries reached the manager, want the 7 from before", n)
	}
}

// joinedAlready runs the same command again, and asks nobody.
func (a *access) joinedAlready() {
	before := a.nodeIDs()
	a.stop(a.worker)
	a.startWorker(a.worker, "--join", a.once.Join)
	a.awaitReady(2)
	if now := a.nodeIDs(); now != before {
		a.Errorf("the nodes were %s and are %s", before, now)
	}
	if got := a.tries(a.worker); len(got) != 1 {
		a.Errorf("it tried to join %d times", len(got))
	}
}

// tooMany guesses secrets, until not even the right one is looked at, which is of a token that was
// revoked: it may be looked at again in a moment. One from elsewhere is.
func (a *access) tooMany() {
	good := a.token("worker")
	const guesses = 60 // more than it takes, also where each is slow: some are given back each minute
	b := &badInput{a.cluster, a.outside}
	said := ""
	for n := 0; n < guesses && !strings.Contains(said, "too often"); n++ {
		said = fails(a.T, a.outside, 1, worker(alter(a.T, good, wrongSecret))...)
	}
	contains(a.T, said, "too often from this address", "wait a minute")
	b.untouched(a.outside)
	said = ""
	for n := 0; n < guesses && !strings.Contains(said, "too often"); n++ {
		said = fails(a.T, a.outside, 1, worker(a.revoked.Join)...)
	}
	contains(a.T, said, "too often from this address")
	if n := len(a.tries(a.outside)); n <= 10 {
		a.Errorf("already after %d wrong strings", n)
	}
	if tries := a.tries(a.outside); !strings.HasPrefix(tries[len(tries)-1], "join refused too-many") {
		a.Errorf("the last line of the audit log is %q", tries[len(tries)-1])
	}
	a.reset(a.worker)
	a.join(a.worker)
	a.awaitReady(2)
}
