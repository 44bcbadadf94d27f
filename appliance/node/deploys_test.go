package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestPrevious(t *testing.T) {
	t.Parallel()
	done := func(version, from int) history.Entry {
		return history.Entry{Version: version, From: from, Result: history.Done}
	}
	bad := func(version int) history.Entry { return history.Entry{Version: version, Result: history.RolledBack} }
	for name, tc := range map[string]struct {
		newestFirst []history.Entry
		want        int // version; 0: none
	}{
		"nothing":                   {nil, 0},
		"the first":                 {[]history.Entry{done(1, 0)}, 0},
		"the one before":            {[]history.Entry{done(2, 0), done(1, 0)}, 1},
		"not a bad one":             {[]history.Entry{bad(4), done(3, 0), bad(2), done(1, 0)}, 1},
		"again, and forth it is":    {[]history.Entry{done(3, 1), done(2, 0), done(1, 0)}, 2},
		"and back":                  {[]history.Entry{done(4, 2), done(3, 1), done(2, 0), done(1, 0)}, 3},
		"not what it was all along": {[]history.Entry{done(2, 1), done(1, 0)}, 0},
	} {
		if got, ok := previous(tc.newestFirst); got.Version != tc.want || ok != (tc.want > 0) {
			t.Errorf("%s: got %d, %v", name, got.Version, ok)
		}
	}
}

func TestResultOf(t *testing.T) {
	t.Parallel()
	for want, err := range map[history.Result]error{
		history.Done:        nil,
		history.RolledBack:  fmt.Errorf("x: %w", &deploy.RolledBackError{}),
		history.Interrupted: fmt.Errorf("x: %w", context.Canceled),
		history.Failed:      errors.New("x"),
	} {
		if got := resultOf(err); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}

func TestChangedBy(t *testing.T) {
	t.Parallel()
	e := history.Entry{At: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
	const other = "2026-01-01T00:00:00Z"
	for name, tc := range map[string]struct {
		svc  fleet.Service
		want bool
	}{
		"its own":             {fleet.Service{Deploy: markOf(e)}, true},
		"another":             {fleet.Service{Deploy: other, Update: "completed", UpdateStarted: e.At.Add(time.Second)}, false},
		"made by hand":        {fleet.Service{}, false},
		"Swarm went back":     {fleet.Service{Deploy: other, Update: "rollback_completed", UpdateStarted: e.At.Add(time.Second)}, true},
		"from the one before": {fleet.Service{Deploy: other, Update: "rollback_completed", UpdateStarted: e.At.Add(-time.Second)}, false},
	} {
		if got := changedBy(tc.svc, e); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
