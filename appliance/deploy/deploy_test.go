package deploy

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// built is a cluster whose registry says what its image was made for.
type built struct {
	nodesOnly
	platforms []fleet.Platform
}

func (c *built) Platforms(context.Context, string) []fleet.Platform { return c.platforms }

func TestPlan_PullsOnlyWhereTheImageRuns(t *testing.T) {
	t.Parallel()
	c := &built{}
	for _, arch := range []string{"x86_64", "aarch64", "x86_64"} {
		c.nodes = append(c.nodes, fleet.Node{State: fleet.StateReady, OS: "linux", Arch: arch})
	}
	amd64, arm64 := fleet.Platform{OS: "linux", Arch: "amd64"}, fleet.Platform{OS: "linux", Arch: "arm64"}
	for want, platforms := range map[string][]fleet.Platform{
		"onto 3 nodes": {amd64, arm64, {OS: "unknown", Arch: "unknown"}},
		"onto 2 nodes": {amd64},
		"onto 1 node,": {arm64},
		"spider: no node can run it: image for linux/s390x (nodes are linux/amd64, linux/arm64) excludes 3 of " +
			"3 nodes": {
			{OS: "linux", Arch: "s390x"},
		},
	} {
		c.platforms = platforms
		r := NewRunner(c, nil, nil, slog.New(slog.DiscardHandler))
		f, err := r.Deploy(nil, Deploy{Service: "spider", Change: servicespec.Deployment{Image: "x:1@sha256:1"}}).Plan(
			t.Context())
		said := strings.Join(f.Steps, "\n")
		if err != nil {
			said = err.Error()
		}
		if !strings.Contains(said, want) {
			t.Errorf("got %q, want %q", said, want)
		}
	}
}
