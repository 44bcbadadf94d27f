package services

import (
	"context"
	"errors"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// A request for a change that is under way follows it; one for another waits for its end.
func TestChange_WhileAnotherIsUnderWay(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	for name, tc := range map[string]struct {
		asks string // hash of the definition
		want history.Stage
	}{
		"the same": {"a", history.StagePull},
		"another":  {"b", history.StageWait},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := pastOf(t, nil)
			c.engine = noEngine{}
			under, _ := c.jobs.begin("spider", "a")
			under.emit(deploy.Progress{Service: "spider", Stage: history.StagePull})
			heard, ended := make(chan history.Stage, 10), make(chan error)
			change := c.Change(compose.Service{Name: "spider", Hash: tc.asks}, Request{})
			go func() { ended <- change.Run(t.Context(), func(p deploy.Progress) { heard <- p.Stage }) }()
			if got := <-heard; got != tc.want {
				t.Errorf("it is told of stage %q, want %q", got, tc.want)
			}
			c.jobs.end("spider", under, bad)
			want := bad
			if tc.asks != "a" {
				want = errNoEngine // it goes on by itself
			}
			if err := <-ended; !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

var errNoEngine = errors.New("no engine")

// noEngine is an Engine that can't be asked.
type noEngine struct{ Engine }

func (noEngine) Snapshot(context.Context) (fleet.Snapshot, error) {
	return fleet.Snapshot{}, errNoEngine
}
