package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

const (
	// chaosEnv says how often TestChaos does each kind of harm; `make soak` sets ten. Without it there are two.
	chaosEnv = "CRAWLBOX_CHAOS"
	// election bounds how long Swarm takes for another leader, which it looks for after 10 to 20 s of silence, and
	// again where nobody has won.
	election = 45 * time.Second
	// resumed bounds how long after that commands on another manager work.
	resumed = 15 * time.Second
)

// TestChaos has three managers and three workers, on which a service runs, and people at work: they push, deploy, let
// nodes in, make tokens and accounts, and collect garbage, each on any manager that is up. Meanwhile harm is done to
// Swarm's leader at random moments. What was acknowledged has to be there afterwards, once and on all managers.
func TestChaos(t *testing.T) {
	t.Parallel()
	times, few := 1, 2
	if n, err := strconv.Atoi(os.Getenv(chaosEnv)); err == nil {
		times, few = n, 1000
	}
	seed := testenv.Seed(t)
	c := newCluster(t, "", 3)
	x := &chaos{cluster: c, managers: c.addManagers(2), rng: rand.New(rand.NewPCG(seed, 0)), down: map[*lab.Host]bool{}}
	c.awaitReady(6)
	// A replica that ends with code 0 when it is asked to is done for Swarm, also where Docker starts again.
	killed := func(c *v1.ConfigFile) { c.Config.StopSignal = "SIGKILL" }
	for _, h := range x.managers {
		h.Load(artifact.TinyImage(t, "localhost:8003/base:1", 0, killed))
	}
	x.prepare()

	harms := map[string]func(*lab.Host){
		"everything killed": x.killed, "power cut": x.powerCut, "cable cut": x.cableCut, "crawlbox killed": x.restarted,
	}
	var order []string
	for name := range harms {
		order = append(order, slices.Repeat([]string{name}, times)...)
	}
	slices.Sort(order)
	x.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i, name := range order[:min(few, len(order))] {
		if !t.Run(fmt.Sprintf("%d %s", i+1, name), func(t *testing.T) { x.round(t, name, harms[name]) }) {
			break // the others would only say the same
		}
	}
	t.Logf("acknowledged: %d pushes, %d deploys of %d, %d tokens, %d accounts, %d nodes", len(x.pushed), x.deployed,
		x.deploys, len(x.tokens), len(x.accounts), x.joined)
}

// chaos is what TestChaos does, and what was acknowledged to it.
type chaos struct {
	*cluster
	managers []*lab.Host
	rng      *rand.Rand

	mu       sync.Mutex
	down     map[*lab.Host]bool // or cut off
	n        int                // of images
	pushed   map[string]string  // digests, by the tags that are pushed once
	moving   int                // that the tag which moves is of at least
	tokens   []string
	accounts []string
	deploys  int // that were asked for
	deployed int // and acknowledged
	joined   int
	spares   []*lab.Host
}

// movingTag is pushed again and again.
const movingTag = "moving"

func (x *chaos) prepare() {
	x.Helper()
	x.pushed = map[string]string{}
	for range 2 {
		if err := x.push(x.managers[0]); err != nil {
			x.Fatal(err)
		}
	}
	x.run("deploy", "localhost:8003/c:1", "--name", "spider", "--replicas", "6", "--monitor", "1s")
	x.awaitRunning("spider", 6)
	x.deploys, x.deployed = 1, 1
}

// pick returns a manager that is up, by a number that is random.
func (x *chaos) pick(n int) *lab.Host {
	x.mu.Lock()
	defer x.mu.Unlock()
	up := slices.DeleteFunc(slices.Clone(x.managers), func(h *lab.Host) bool { return x.down[h] })
	return up[n%len(up)]
}

func (x *chaos) setDown(h *lab.Host, down bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.down[h] = down
}

// round has people at work while harm is done to the leader, and then looks at what is left.
func (x *chaos) round(t *testing.T, name string, harm func(*lab.Host)) {
	x = x.in(t)
	ctx, cancel := context.WithCancel(t.Context())
	var people sync.WaitGroup
	defer func() { cancel(); people.Wait() }()
	for _, work := range []func(context.Context, *lab.Host) error{
		x.push1, x.deploy1, x.join1, x.token1, x.account1, x.gc1,
	} {
		rng := rand.New(rand.NewPCG(x.rng.Uint64(), 1))
		people.Go(func() {
			for ctx.Err() == nil {
				h := x.pick(rng.IntN(len(x.managers)))
				if err := work(ctx, h); err != nil && ctx.Err() == nil {
					t.Logf("on %s: %.300s", h.Name(), err)
				}
				rest(ctx, time.Duration(rng.IntN(1500))*time.Millisecond)
			}
		})
	}
	x.mu.Lock()
	before := x.deployed
	x.mu.Unlock()
	lab.WaitFor(x, patience, "a deploy to be acknowledged", func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		return want(x.deployed > before, true)
	})
	leader := x.leader()
	rest(ctx, time.Duration(x.rng.IntN(5000))*time.Millisecond)
	t.Logf("%s: %s, the leader", leader.Name(), name)
	harm(leader)
	rest(ctx, time.Duration(x.rng.IntN(3000))*time.Millisecond)
	cancel()
	people.Wait()
	x.settled()
	x.check()
}

func (x *chaos) in(t *testing.T) *chaos {
	x.cluster = x.sub(t)
	return x
}

// leader returns Swarm's.
func (x *chaos) leader() (leader *lab.Host) {
	x.Helper()
	lab.WaitFor(x, patience, "a leader", func() error {
		var nodes []fleet.Node
		if err := tryAPI(x.Context(), x.pick(0), http.MethodGet, "/v1/nodes", nil, &nodes); err != nil {
			return err
		}
		for _, n := range nodes {
			for _, h := range x.managers {
				if n.Leader && n.Name == h.Name() {
					leader = h
				}
			}
		}
		return want(leader != nil, true)
	})
	return leader
}

// goesOn waits until commands on another manager work: at once after Swarm has another leader.
func (x *chaos) goesOn(lost *lab.Host) {
	x.Helper()
	begun := time.Now()
	other := x.managers[(slices.Index(x.managers, lost)+1)%len(x.managers)]
	lab.WaitFor(x, election, "another leader of Swarm", func() error {
		ctx, cancel := context.WithTimeout(x.Context(), 2*time.Second)
		defer cancel()
		code, said, err := askSocket(ctx, other, "/run/docker.sock", http.MethodGet, "/nodes", nil)
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("status %d: %s", code, said)
		}
		return err
	})
	elected := time.Since(begun)
	said := ""
	for _, args := range [][]string{{"token", "worker", "--ttl", "1h"}, {"ls"}, {"images"}, {"history", "spider"}} {
		lab.WaitFor(x, patience, args[0]+" on "+other.Name(), func() error {
			return other.Exec(x.Context(), append([]string{"crawlbox"}, args...)...).Err()
		})
		said += fmt.Sprintf(", %s after %s", args[0], time.Since(begun).Round(time.Millisecond))
	}
	took := time.Since(begun)
	x.Logf("Swarm has another leader after %s; on %s works%s", elected.Round(time.Millisecond), other.Name(), said)
	if took-elected > resumed {
		x.Errorf("commands work only %s after Swarm has another leader", took-elected)
	}
}

func (x *chaos) start(h *lab.Host) {
	x.Helper()
	x.agents[h] = h.Start("crawlbox", "crawlbox", "manager")
	x.awaitAgent(h)
	x.setDown(h, false)
}

// killed ends Docker and crawlbox of a host as kill -9 does.
func (x *chaos) killed(h *lab.Host) {
	x.setDown(h, true)
	x.agents[h].Kill()
	h.KillDocker()
	x.goesOn(h)
	h.StartDocker()
	x.start(h)
}

func (x *chaos) powerCut(h *lab.Host) {
	x.setDown(h, true)
	h.PowerOff()
	x.goesOn(h)
	h.PowerOn()
	x.start(h)
}

func (x *chaos) cableCut(h *lab.Host) {
	x.setDown(h, true)
	h.Cut()
	x.goesOn(h)
	h.Heal()
	x.setDown(h, false)
}

// restarted kills crawlbox alone, which systemd starts again: Swarm keeps its leader.
func (x *chaos) restarted(h *lab.Host) {
	x.setDown(h, true)
	x.agents[h].Kill()
	x.agents[h] = h.Start("crawlbox", "crawlbox", "manager")
	x.goesOn(h)
	x.awaitAgent(h)
	x.setDown(h, false)
}

var pushedDigest = regexp.MustCompile(`digest: (sha256:[0-9a-f]{64})`)

// push pushes an image that was never pushed before, by a tag of its own.
func (x *chaos) push(h *lab.Host) error {
	x.mu.Lock()
	x.n++
	n := x.n
	x.mu.Unlock()
	ref := fmt.Sprintf("localhost:8003/c:%d", n)
	digest, err := x.pushAs(x.Context(), h, n, ref)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pushed[ref] = digest
	return nil
}

// pushAs pushes image n.
func (x *chaos) pushAs(ctx context.Context, h *lab.Host, n int, ref string) (digest string, err error) {
	made := h.Exec(ctx, "sh", "-c", fmt.Sprintf("docker create --name push%d localhost:8003/base:1 >/dev/null && "+
		"docker commit --change 'LABEL n=%d' push%d %s >/dev/null; docker rm -f push%d >/dev/null", n, n, n, ref, n))
	if err := made.Err(); err != nil {
		return "", fmt.Errorf("commit image %d: %w", n, err)
	}
	r := h.Exec(ctx, "docker", "push", ref)
	if err := r.Err(); err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	found := pushedDigest.FindStringSubmatch(r.Stdout)
	if found == nil {
		return "", fmt.Errorf("push %s: it says %s", ref, r.Stdout)
	}
	return found[1], nil
}

func (x *chaos) push1(ctx context.Context, h *lab.Host) error {
	if err := x.push(h); err != nil {
		return err
	}
	x.mu.Lock()
	x.n++
	n := x.n
	x.mu.Unlock()
	if _, err := x.pushAs(ctx, h, n, "localhost:8003/c:"+movingTag); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.moving = n // one pushes after the other
	return nil
}

func (x *chaos) deploy1(ctx context.Context, h *lab.Host) error {
	x.mu.Lock()
	x.deploys++
	var ref string
	for ref = range x.pushed { // any
		break
	}
	env := fmt.Sprintf("N=%d", x.deploys)
	x.mu.Unlock()
	r := h.Exec(ctx, "crawlbox", "deploy", ref, "--name", "spider", "--env", env, "--monitor", "1s", "--parallelism",
		"all")
	if r.Code == 0 {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.deployed++
	}
	return r.Err()
}

// join1 has a server join that is no node yet.
func (x *chaos) join1(ctx context.Context, h *lab.Host) error {
	x.mu.Lock()
	joined := len(x.spares)
	x.mu.Unlock()
	if joined > 0 { // one a round
		return nil
	}
	var once api.Token
	err := tryAPI(ctx, h, http.MethodPost, "/v1/tokens", api.TokenRequest{Role: fleet.RoleWorker, Uses: 1}, &once)
	if err != nil {
		return err
	}
	spare := x.lab.AddHost()
	agent := spare.Start("crawlbox", "crawlbox", "worker", "--join", once.Join)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tokens = append(x.tokens, once.ID)
	x.spares = append(x.spares, spare)
	x.agents[spare] = agent
	return nil
}

func (x *chaos) token1(ctx context.Context, h *lab.Host) error {
	id, err := makeToken(ctx, h)
	if err == nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.tokens = append(x.tokens, id)
	}
	return err
}

func (x *chaos) account1(ctx context.Context, h *lab.Host) error {
	name := fmt.Sprintf("ci-%d", time.Now().UnixNano())
	err := tryAPI(ctx, h, http.MethodPost, "/v1/registry/accounts/"+name, nil, nil)
	if err == nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.accounts = append(x.accounts, name)
	}
	return err
}

func (x *chaos) gc1(ctx context.Context, h *lab.Host) error {
	return h.Exec(ctx, "crawlbox", "images", "gc").Err()
}

// settled waits until the cluster is whole: the node that was let in is there, and no deploy is under way.
func (x *chaos) settled() {
	x.Helper()
	x.awaitState(x.managers...)
	x.mu.Lock()
	spares := x.spares
	x.spares = nil
	x.mu.Unlock()
	for _, h := range spares {
		x.awaitAgent(h)
		lab.WaitFor(x, patience, "the new node in Swarm", func() error {
			for _, n := range x.nodes() {
				if n.Name == h.Name() && n.State == fleet.StateReady {
					return nil
				}
			}
			return fmt.Errorf("%s is not ready", h.Name())
		})
		x.joined++
		h.MustExec("crawlbox", "leave", "--force")
		h.PowerOff()
	}
	lab.WaitFor(x, patience, "the end of all deploys", func() error {
		for _, e := range x.history(x.managers[0]) {
			if e.Result == history.Running {
				return fmt.Errorf("version %d is under way", e.Version)
			}
		}
		return nil
	})
	x.awaitRunning("spider", 6)
}

func (x *chaos) history(h *lab.Host) (list []history.Entry) {
	x.Helper()
	if err := json.Unmarshal([]byte(h.MustExec("crawlbox", "history", "spider", "--json")), &list); err != nil {
		x.Fatal(err)
	}
	return list
}

// check wants what was acknowledged.
func (x *chaos) check() {
	x.Helper()
	for _, h := range x.managers {
		have := map[string]int{}
		var tokens []token.Info
		askAPI(x, h, http.MethodGet, "/v1/tokens", nil, &tokens)
		for _, t := range tokens {
			have[t.ID]++
		}
		var accounts []api.RegistryAccount
		askAPI(x, h, http.MethodGet, "/v1/registry/accounts", nil, &accounts)
		for _, a := range accounts {
			have[a.Name]++
		}
		for _, id := range slices.Concat(x.tokens, x.accounts) {
			if have[id] != 1 {
				x.Errorf("%s has %s %d times, which was acknowledged", h.Name(), id, have[id])
			}
		}
		results := map[history.Result]int{}
		for _, e := range x.history(h) {
			results[e.Result]++
			nothing := strings.Contains(e.Why, "was changed") // it says that nothing was
			if e.Result == history.Interrupted && !nothing || e.Result == history.Running {
				x.Errorf("%s: version %d ended as %s: %s", h.Name(), e.Version, e.Result, e.Why)
			}
		}
		if results[history.Done] < min(x.deployed, maxHistory) {
			x.Errorf("%s has %v in the history, of %d that were acknowledged", h.Name(), results, x.deployed)
		}
		x.pulls(h)
	}
}

// maxHistory is how many versions of a service the history has at least.
const maxHistory = 20

// pulls wants all images that were pushed to be there for a manager's Docker.
func (x *chaos) pulls(h *lab.Host) {
	x.Helper()
	pull := func(ref string) string {
		var said lab.Result
		for range 2 { // the end of a deploy before takes old images off the nodes
			h.Exec(x.Context(), "docker", "image", "rm", "--force", ref)
			if err := h.Exec(x.Context(), "docker", "pull", "--quiet", ref).Err(); err != nil {
				x.Errorf("%s pulls %s: %v", h.Name(), ref, err)
				return ""
			}
			said = h.Exec(x.Context(), "docker", "image", "inspect", "--format",
				"{{.Config.Labels.n}} {{index .RepoDigests 0}}", ref)
			if said.Code == 0 {
				break
			}
		}
		return strings.TrimSpace(said.Stdout)
	}
	for ref, digest := range x.pushed {
		if got := pull(ref); !strings.HasSuffix(got, digest) {
			x.Errorf("%s has %s as %q, want %s", h.Name(), ref, got, digest)
		}
		if got := pull("localhost:8003/c@" + digest); !strings.HasSuffix(got, digest) {
			x.Errorf("%s has %s as %q", h.Name(), digest, got)
		}
	}
	if x.moving == 0 {
		return
	}
	label, _, _ := strings.Cut(pull("localhost:8003/c:"+movingTag), " ")
	if n, err := strconv.Atoi(label); err != nil || n < x.moving {
		x.Errorf("%s has the tag that moves at %q, want %d or later", h.Name(), label, x.moving)
	}
}
