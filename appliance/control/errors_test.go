package control

import (
	"errors"
	"fmt"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
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
