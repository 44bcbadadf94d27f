package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// addManagers has hosts more join as managers, and returns all managers once each has the state.
func (c *cluster) addManagers(n int) []*lab.Host {
	c.Helper()
	managers := []*lab.Host{c.manager}
	for range n {
		h := c.lab.AddHost()
		c.hosts, managers = append(c.hosts, h), append(managers, h)
		c.agents[h] = h.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
		c.awaitAgent(h)
	}
	c.awaitState(managers...)
	return managers
}

// TestTwoWriters has two of three managers change the state at once: of 1,000 changes none is lost or there twice,
// each comes after what was acknowledged before it began, and the commits are one chain.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 0)
	managers := c.addManagers(2)
	c.push("localhost:8003/tiny:1")

	t.Run("tokens and accounts", func(t *testing.T) { c.sub(t).changeAtOnce(managers, 1000) })
	t.Run("deploys", func(t *testing.T) { c.sub(t).deployAtOnce(managers[:2]) })
	t.Run("one use, two nodes", func(t *testing.T) {
		c := c.sub(t)
		for range 3 {
			c.useAtOnce(managers[:2])
		}
	})
}

// change is one that was acknowledged.
type change struct {
	id         string
	begun, end time.Time
}

// changeAtOnce makes so many changes on the first two managers, and looks on at the third.
func (c *cluster) changeAtOnce(managers []*lab.Host, times int) {
	c.Helper()
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	seen := make(chan map[state.Version]stateChange)
	go func() { seen <- c.watchState(ctx, managers[2]) }()
	const each = 4 // writers on a manager
	var (
		all      sync.WaitGroup
		mu       sync.Mutex
		tokens   []change
		accounts []string
		took     []time.Duration
	)
	begun := time.Now()
	for w := range 2 * each {
		h := managers[w%2]
		all.Go(func() {
			for i := range times / (2 * each) {
				mine := change{begun: time.Now()}
				var err error
				if i%2 == 0 {
					mine.id, err = makeToken(ctx, h)
				} else {
					mine.id = fmt.Sprintf("ci-%d-%d", w, i)
					err = tryAPI(ctx, h, http.MethodPost, "/v1/registry/accounts/"+mine.id, nil, nil)
				}
				mine.end = time.Now()
				mu.Lock()
				switch {
				case err != nil:
					c.Error(err)
				case i%2 == 0:
					tokens = append(tokens, mine)
				default:
					accounts = append(accounts, mine.id)
				}
				took = append(took, mine.end.Sub(mine.begun))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	c.Logf("%d changes took %s, half of them under %s, 99%% under %s; load %s", times, time.Since(begun),
		took[times/2], took[times*99/100], load())
	c.awaitState(managers...)
	for _, h := range managers {
		c.wantOrder(h, tokens)
		var list []api.RegistryAccount
		askAPI(c, h, http.MethodGet, "/v1/registry/accounts", nil, &list)
		have := map[string]int{}
		for _, a := range list {
			have[a.Name]++
		}
		for _, name := range accounts {
			if have[name] != 1 {
				c.Errorf("%s has account %s %d times", h.Name(), name, have[name])
			}
		}
	}
	cancel()
	c.wantChain(<-seen)
}

// wantOrder wants each token once, and none before one that was acknowledged before it was asked for: the list is
// in the order of the commits.
func (c *cluster) wantOrder(h *lab.Host, tokens []change) {
	c.Helper()
	var list []token.Info
	askAPI(c, h, http.MethodGet, "/v1/tokens", nil, &list)
	at := map[string]int{}
	for i, t := range list {
		if _, twice := at[t.ID]; twice {
			c.Errorf("%s has token %s twice", h.Name(), t.ID)
		}
		at[t.ID] = i
	}
	for _, t := range tokens {
		if _, ok := at[t.id]; !ok {
			c.Errorf("%s has lost token %s", h.Name(), t.id)
		}
	}
	slices.SortFunc(tokens, func(a, b change) int { return at[a.id] - at[b.id] })
	var last time.Time // that one so far was begun
	for _, t := range tokens {
		if t.end.Before(last) {
			c.Errorf("token %s comes after one that was asked for only once it was acknowledged", t.id)
		}
		if t.begun.After(last) {
			last = t.begun
		}
	}
}

// stateChange is what `crawlbox state log` says of a commit.
type stateChange struct {
	ID     state.Version `json:"id"`
	Parent state.Version `json:"parent"`
	Author string        `json:"author"`
}

func (c *cluster) stateLog(h *lab.Host) (list []stateChange) {
	c.Helper()
	if err := json.Unmarshal([]byte(h.MustExec("crawlbox", "state", "log", "--json")), &list); err != nil {
		c.Fatal(err)
	}
	return list
}

// watchState collects the commits that a manager keeps until ctx ends, which are the last few at each moment.
func (c *cluster) watchState(ctx context.Context, h *lab.Host) map[state.Version]stateChange {
	seen := map[state.Version]stateChange{}
	for last := false; ; last = ctx.Err() != nil {
		for _, s := range c.stateLog(h) {
			seen[s.ID] = s
		}
		if last {
			return seen
		}
	}
}

// wantChain wants each commit to be on another, and no two on one. A gap, where more came than are kept before they
// were looked at, is seen as more than one that is on none.
func (c *cluster) wantChain(seen map[state.Version]stateChange) {
	c.Helper()
	next, authors, firsts := map[state.Version]state.Version{}, map[string]int{}, 0
	for id, s := range seen {
		authors[s.Author]++
		if other, ok := next[s.Parent]; ok {
			c.Errorf("%.8s and %.8s are both on %.8s", other, id, s.Parent)
		}
		next[s.Parent] = id
		if _, ok := seen[s.Parent]; !ok {
			firsts++
		}
	}
	c.Logf("%d commits were seen, by %v", len(seen), authors)
	if firsts != 1 || len(authors) < 2 {
		c.Errorf("the commits are %d chains, by %v", firsts, authors)
	}
}

// deployAtOnce has managers deploy one service at the same time.
func (c *cluster) deployAtOnce(managers []*lab.Host) {
	c.Helper()
	const each = 2
	managers[0].MustExec("crawlbox", "deploy", "localhost:8003/tiny:1", "--name", "one", "--monitor", "1s")
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		done []string
	)
	for _, h := range managers {
		all.Go(func() {
			for i := range each {
				env := fmt.Sprintf("WHO=%s-%d", h.Name(), i)
				lab.WaitFor(c, 2*patience, env, func() error {
					return h.Exec(c.Context(), "crawlbox", "deploy", "localhost:8003/tiny:1", "--name", "one",
						"--monitor", "1s", "--env", env).Err() // it is refused while the other's is under way
				})
				mu.Lock()
				done = append(done, env)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for _, h := range managers {
		var list []struct {
			Version int    `json:"version"`
			Result  string `json:"result"`
		}
		if err := json.Unmarshal([]byte(h.MustExec("crawlbox", "history", "one", "--json")), &list); err != nil {
			c.Fatal(err)
		}
		finished, versions := 0, map[int]bool{}
		for _, e := range list {
			if e.Result == "done" {
				finished++
			}
			if versions[e.Version] {
				c.Errorf("%s has version %d twice", h.Name(), e.Version)
			}
			versions[e.Version] = true
		}
		if finished != len(done)+1 {
			c.Errorf("%s has %d in the history, of %d and the first: %+v", h.Name(), finished, len(done), list)
		}
	}
}

// useAtOnce has two servers join at once with a token that is good for one, each let in by another manager.
func (c *cluster) useAtOnce(managers []*lab.Host) {
	c.Helper()
	var once api.Token
	askAPI(c, managers[0], http.MethodPost, "/v1/tokens", api.TokenRequest{Role: fleet.RoleWorker, Uses: 1}, &once)
	hosts := c.lab.AddHosts(2)
	for i, h := range hosts {
		// Who is asked first is the first on the list that answers.
		cut := managers[1-i]
		h.MustExec("ip", "route", "add", "blackhole", cut.IP().String()+"/32")
	}
	var (
		all   sync.WaitGroup
		ended [2]bool
	)
	for _, h := range hosts {
		c.agents[h] = h.Start("crawlbox", "crawlbox", "worker", "--join", once.Join)
	}
	for i, h := range hosts {
		agent := c.agents[h]
		all.Go(func() {
			lab.WaitFor(c, patience, "an answer to "+h.Name(), func() error {
				select {
				case <-agent.Done():
					ended[i] = true
					return nil
				default:
					return said(agent, "worker is ready")
				}
			})
		})
	}
	all.Wait()
	if ended[0] == ended[1] {
		c.Errorf("both ended alike: %v\n%s\n%s", ended, c.agents[hosts[0]].Logs(), c.agents[hosts[1]].Logs())
	}
	for i, h := range hosts {
		if ended[i] {
			contains(c.T, c.agents[h].Logs(), "use limit")
		}
		h.PowerOff()
	}
	for _, h := range managers {
		var list []token.Info
		askAPI(c, h, http.MethodGet, "/v1/tokens", nil, &list)
		i := slices.IndexFunc(list, func(t token.Info) bool { return t.ID == once.ID })
		if i < 0 || list[i].Used != 1 {
			c.Errorf("on %s the token is %+v", h.Name(), list)
		}
	}
}
