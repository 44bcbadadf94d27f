package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// call is one call of a Backend, all that it answers made comparable.
type call struct {
	name string
	do   func(ctx context.Context, b apitest.Backend) (any, error)
}

func events(run func(func(deploy.Progress) error) error) (any, error) {
	var all []deploy.Progress
	err := run(func(e deploy.Progress) error {
		all = append(all, e)
		return nil
	})
	return all, err
}

func logs(ctx context.Context, b apitest.Backend, q api.LogQuery) (any, error) {
	var all []api.LogLine
	err := b.Logs(ctx, q, func(l api.LogLine) error {
		all = append(all, l)
		return nil
	})
	return all, err
}

func done(err error) (any, error) { return nil, err }

func scaleTo(replicas map[string]int) func(context.Context, apitest.Backend) (any, error) {
	return func(ctx context.Context, b apitest.Backend) (any, error) {
		return events(func(fn func(deploy.Progress) error) error {
			return b.Scale(ctx, api.ScaleRequest{Replicas: replicas}, fn)
		})
	}
}

func update(req api.UpdateRequest) func(context.Context, apitest.Backend) (any, error) {
	return func(ctx context.Context, b apitest.Backend) (any, error) {
		return events(func(fn func(deploy.Progress) error) error { return b.Update(ctx, req, fn) })
	}
}

func remove(service string) func(context.Context, apitest.Backend) (any, error) {
	return func(ctx context.Context, b apitest.Backend) (any, error) {
		return events(func(fn func(deploy.Progress) error) error { return b.RemoveService(ctx, service, fn) })
	}
}

var offer = upgrade.Offer{Version: "0.2.0", Arch: runtime.GOARCH, SHA256: strings.Repeat("ab", 32), Size: 7}

var calls = []call{
	{"status", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Status(ctx) }},
	{"neighbours", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Neighbours(ctx) }},
	{"config", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Config(ctx) }},
	{"token", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Token(ctx, "manager") }},
	{"tokens", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Tokens(ctx) }},
	{"a new token", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.NewToken(ctx, api.TokenRequest{Role: "worker", TTL: time.Hour, Uses: 5})
	}},
	{"revoke a token", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.RevokeToken(ctx, "ffff"))
	}},
	{"revoke an unknown token", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.RevokeToken(ctx, "a/b ?%"))
	}},
	{"rotate", func(ctx context.Context, b apitest.Backend) (any, error) { return b.RotateTokens(ctx, "manager") }},
	{"rotate both", func(ctx context.Context, b apitest.Backend) (any, error) { return b.RotateTokens(ctx, "") }},
	{"rotated", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Tokens(ctx) }},
	{"registry login", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.RegistryLogin(ctx, "a.b-c_1")
	}},
	{"registry accounts", func(ctx context.Context, b apitest.Backend) (any, error) { return b.RegistryAccounts(ctx) }},
	{"registry logout", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.RegistryLogout(ctx, "ci"))
	}},
	{"registry logout again", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.RegistryLogout(ctx, "ci"))
	}},
	{"ca", func(ctx context.Context, b apitest.Backend) (any, error) { return b.CA(ctx) }},
	{"state of upgrades", func(ctx context.Context, b apitest.Backend) (any, error) { return b.UpgradeState(ctx) }},
	{"offer a program", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.OfferProgram(ctx, offer, strings.NewReader("program"))
	}},
	{"offer another program", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.OfferProgram(ctx, offer, strings.NewReader("another program"))
	}},
	{"plan an upgrade", func(ctx context.Context, b apitest.Backend) (any, error) { return b.UpgradePlan(ctx, offer) }},
	{"upgrade", func(ctx context.Context, b apitest.Backend) (any, error) {
		var said []upgrade.Event
		err := b.UpgradeNodes(ctx, offer, func(e upgrade.Event) error { said = append(said, e); return nil })
		return said, err
	}},
	{"upgrade the manager", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.UpgradeSelf(ctx, offer))
	}},
	{"state after it", func(ctx context.Context, b apitest.Backend) (any, error) { return b.UpgradeState(ctx) }},
	{"nodes", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Nodes(ctx) }},
	{"drain", func(ctx context.Context, b apitest.Backend) (any, error) { return done(b.SetNode(ctx, "h2", "drain")) }},
	{"drained", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Nodes(ctx) }},
	{"drain an unknown node", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.SetNode(ctx, "a/b c?", "drain"))
	}},
	{"demote the leader", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.SetNode(ctx, "h1", "demote"))
	}},
	{"remove a live node", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.RemoveNode(ctx, "h2", false))
	}},
	{"remove it with force", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.RemoveNode(ctx, "h2", true))
	}},
	{"services", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Services(ctx) }},
	{"inspect", func(ctx context.Context, b apitest.Backend) (any, error) {
		v, err := b.Inspect(ctx, "spider")
		return v.Service, err // TestHandler_HidesSecretsOfServices has the rest
	}},
	{"inspect an unknown service", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.Inspect(ctx, "spidr")
	}},
	{"tasks", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.Tasks(ctx, api.TaskQuery{Service: "spider", Node: "h1", All: true})
	}},
	{"no tasks", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.Tasks(ctx, api.TaskQuery{Service: "broken", Node: "h1"})
	}},
	{"logs", func(ctx context.Context, b apitest.Backend) (any, error) {
		return logs(ctx, b, api.LogQuery{Target: "robot", Tail: 1, Since: now.Add(-1)})
	}},
	{"logs of an unknown service", func(ctx context.Context, b apitest.Backend) (any, error) {
		return logs(ctx, b, api.LogQuery{Target: "nothing", Tail: -1})
	}},
	{"logs that break off", func(ctx context.Context, b apitest.Backend) (any, error) {
		return logs(ctx, b, api.LogQuery{Target: "broken", Tail: -1})
	}},
	{"scale", scaleTo(map[string]int{"spider": 5, "batch": 0})},
	{"follow a queue", func(ctx context.Context, b apitest.Backend) (any, error) {
		rule := &scalerule.Rule{Queue: "urls", PerReplica: 200, Max: 50}
		return done(b.Autoscale(ctx, api.AutoscaleRequest{Service: "spider", Rule: rule}))
	}},
	{"what follows queues", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Autoscaled(ctx, "") }},
	{"what one does", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Autoscaled(ctx, "spider") }},
	{"what one does that follows none", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.Autoscaled(ctx, "robot")
	}},
	{"scale by the queue", func(ctx context.Context, b apitest.Backend) (any, error) {
		return events(func(fn func(deploy.Progress) error) error {
			return b.Scale(ctx, api.ScaleRequest{Auto: []string{"spider"}}, fn)
		})
	}},
	{"follow no queue", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.Autoscale(ctx, api.AutoscaleRequest{Service: "spider"}))
	}},
	{"scale an unknown service", scaleTo(map[string]int{"spidr": 5})},
	{"scale what fails in the middle", scaleTo(map[string]int{"broken": 2})},
	{"update", update(api.UpdateRequest{Service: "spider", Image: "localhost:8003/spider:0.02", StopFirstAll: true})},
	{"update to an unknown image", update(api.UpdateRequest{Service: "spider", Image: "localhost:8003/spider:9"})},
	{"remove", remove("spider")},
	{"remove again", remove("spider")},
	{"images", func(ctx context.Context, b apitest.Backend) (any, error) { return b.Images(ctx, true) }},
	{"images, without the nodes", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.Images(ctx, false)
	}},
	{"remove an image", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.RemoveImage(ctx, "spider:0.02", false))
	}},
	{"remove a used image", func(ctx context.Context, b apitest.Backend) (any, error) {
		return done(b.RemoveImage(ctx, "spider:0.01", false))
	}},
	{"collect images", func(ctx context.Context, b apitest.Backend) (any, error) { return b.CollectImages(ctx) }},
	{"queue address", func(ctx context.Context, b apitest.Backend) (any, error) { return b.QueueAddress(ctx) }},
	{"all queues", func(ctx context.Context, b apitest.Backend) (any, error) { return b.QueueLen(ctx, "") }},
	{"push", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.QueuePush(ctx, "k &?ü", []string{"a", "<b>", "\x00\n"})
	}},
	{"one queue", func(ctx context.Context, b apitest.Backend) (any, error) { return b.QueueLen(ctx, "k &?ü") }},
	{"what comes and goes", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.QueueFlow(ctx, []string{"k &?ü", "robots"}, 7)
	}},
	{"what comes and goes of all", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.QueueFlow(ctx, nil, 1)
	}},
	{"peek", func(ctx context.Context, b apitest.Backend) (any, error) { return b.QueuePeek(ctx, "k &?ü", 2) }},
	{"what is held", func(ctx context.Context, b apitest.Backend) (any, error) { return b.QueueInFlight(ctx, "", 7) }},
	{"what is held of a key", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.QueueInFlight(ctx, "example:swarm:spider", 1)
	}},
	{"keys with dead items", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.QueueDead(ctx, "", 7)
	}},
	{"dead items", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.QueueDead(ctx, "example:swarm:spider", 1)
	}},
	{"no dead items", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.QueueDead(ctx, "k &?ü", 1)
	}},
	{"retry", func(ctx context.Context, b apitest.Backend) (any, error) {
		dead := []string{"https://kills.example/1", "x"}
		return b.QueueRetry(ctx, api.Items{Key: "example:swarm:spider", Items: dead})
	}},
	{"drop", func(ctx context.Context, b apitest.Backend) (any, error) {
		return b.QueueDrop(ctx, api.Items{Key: "example:swarm:spider"})
	}},
	{"clear", func(ctx context.Context, b apitest.Backend) (any, error) { return b.QueueClear(ctx, "k &?ü") }},
	{"leave", func(ctx context.Context, b apitest.Backend) (any, error) { return done(b.Leave(ctx, false)) }},
	{"leave with force", func(ctx context.Context, b apitest.Backend) (any, error) { return done(b.Leave(ctx, true)) }},
}

// TestClient_SaysWhatTheBackendSays asks two equal clusters the same things,
// one over the socket and one directly, and expects the same answers.
func TestClient_SaysWhatTheBackendSays(t *testing.T) {
	for name, worker := range map[string]bool{"manager": false, "worker": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct, served := apitest.New(now), apitest.New(now)
			if worker {
				direct.BeWorker()
				served.BeWorker()
			}
			client, _ := serve(t, served, testLog(t))
			for _, c := range calls {
				wantValue, wantErr := c.do(testContext(t), direct)
				value, err := c.do(testContext(t), client)
				if got, want := asJSON(t, value), asJSON(t, wantValue); got != want {
					t.Errorf("%s: got %s, want %s", c.name, got, want)
				}
				compareErrors(t, c.name, err, wantErr)
			}
		})
	}
}

func compareErrors(t *testing.T, call string, got, want error) {
	t.Helper()
	if got == nil && want == nil {
		return
	}
	var g, w *api.Error
	if !errors.As(got, &g) || !errors.As(want, &w) || !reflect.DeepEqual(g, w) {
		t.Errorf("%s: got error %v, want %v", call, got, want)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); s != "null" {
		return s
	}
	return "[]" // an empty list has no nil on the wire
}
