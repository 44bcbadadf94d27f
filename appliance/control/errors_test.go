package control

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

func TestErrors_Explain(t *testing.T) {
	t.Parallel()
	for code, errs := range map[string][]error{
		api.CodeConflict: {deploy.Conflict("service %s is being changed already",
			"spider"), upgrade.ErrUnderWay, api.Conflict("its own")},
		api.CodeUnavailable: {swarm.ErrStopped, swarm.ErrUnreachable},
		api.CodeNotFound:    {swarm.ErrNotFound, swarm.ErrNoImage},
		api.CodeNotManager:  {swarm.ErrNotManager},
		api.CodeFailed:      {errors.New("anything else")},
	} {
		for _, err := range errs {
			got := NewErrors("h1", func() string { return "h0" }).explain(fmt.Errorf("spider: %w", err))
			var said *api.Error
			if !errors.As(got, &said) || said.Code != code {
				t.Errorf("%v is explained as %v, want the code %s", err, got, code)
			}
		}
	}
}

// TestExplainQuorum: nothing that Swarm says of its managers is passed on as it says it.
func TestExplainQuorum(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"can't find manager in raft memberlist": "h2 was promoted, but Swarm has not ended that yet",
		"attempting to demote the last manager": "h2 is the last",
		"this would result in a loss of quorum": "promote another",
	} {
		if got := explainQuorum(fleet.Node{Display: "h2"}, errors.New(said)); !strings.Contains(got.Error(), want) {
			t.Errorf("%s is explained as %v", said, got)
		}
	}
}
