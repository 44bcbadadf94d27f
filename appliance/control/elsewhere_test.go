package control

import (
	"context"
	"errors"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

func TestElsewhere_NamesWhatIsWhere(t *testing.T) {
	t.Parallel()
	e := NewElsewhere(NewErrors("h2", func() string { return "h1 (10.0.0.1)" }))
	ctx := context.Background()
	for name, tt := range map[string]struct {
		call func() error
		what string
	}{
		"token":          {func() error { _, err := e.Token(ctx, "worker"); return err }, "the cluster's CA"},
		"node rm":        {func() error { return e.RemoveNode(ctx, "h3", true) }, "the cluster's CA"},
		"registry login": {func() error { _, err := e.RegistryLogin(ctx, "ci"); return err }, "the registry"},
		"images":         {func() error { _, err := e.Images(ctx, false); return err }, "the registry"},
		"push":           {func() error { return e.Push(ctx, api.PushRequest{}, nil) }, "the registry"},
		"build":          {func() error { return e.Build(ctx, api.BuildRequest{}, nil, nil) }, "the registry"},
		"deploy": {func() error {
			return e.Deploy(ctx, api.DeployRequest{Service: "s"}, nil)
		}, "what builds and deploys directories"},
		"deploy an image": {func() error {
			return e.Deploy(ctx, api.DeployRequest{Service: "s", Image: "localhost:8003/s:1"}, nil)
		}, "what deploys"},
		"deploy a defined": {func() error {
			return e.Deploy(ctx, api.DeployRequest{Defined: true}, nil)
		}, "the config file with the services"},
		"rollback": {func() error { return e.Rollback(ctx, api.RollbackRequest{}, nil) }, "the history of deploys"},
		"restart":  {func() error { return e.Restart(ctx, "s", nil) }, "what brings images to the nodes"},
		"queue inflight": {
			func() error { _, err := e.QueueInFlight(ctx, "", 1); return err }, "the queue",
		},
		"queue dead ls": {func() error { _, err := e.QueueDead(ctx, "", 1); return err }, "the queue"},
		"queue dead retry": {
			func() error { _, err := e.QueueRetry(ctx, api.Items{}); return err }, "the queue",
		},
		"queue dead drop": {
			func() error { _, err := e.QueueDrop(ctx, api.Items{}); return err }, "the queue",
		},
		"queue len": {func() error { _, err := e.QueueLen(ctx, ""); return err }, "the queue"},
		"upgrade": {func() error {
			_, err := e.UpgradePlan(ctx, upgrade.Offer{})
			return err
		}, "what upgrades the cluster"},
	} {
		var said *api.Error
		want := tt.what + " is on the manager h1 (10.0.0.1); run the command there"
		if err := tt.call(); !errors.As(err, &said) || said.Code != api.CodeNotManager || said.Message != want {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}
