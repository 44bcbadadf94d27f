package deploy

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// fromHub is a deploy of an image that docker.io has.
func fromHub(from *Source) Deploy {
	return Deploy{Service: "base", Source: from, Stage: StagePolicy{Share{percent: 100}, time.Minute}, At: func(string) error { return nil },
		Change: servicespec.Deployment{Image: "localhost:8003/mirror/docker.io/library/python:3@sha256:" + strings.Repeat("0123456789abcdef", 4)}}
}

func TestPlanDeploy_OfAnotherRegistry(t *testing.T) {
	t.Parallel()
	runner := NewRunner(planned{}, nil, slog.New(slog.DiscardHandler))
	runs := &fleet.Service{ID: "id", Name: "base", Mode: fleet.ModeReplicated, Image: "localhost:8003/mirror/docker.io/library/python:2", Desired: 1}
	f, err := runner.PlanDeploy(t.Context(), runs, fromHub(&Source{Registry: "docker.io", Copy: func(context.Context, func(bytes, total int64)) error {
		t.Error("a plan copies an image")
		return nil
	}}), "")
	const copies = "copy: python:3 (0123456789ab) from docker.io into the cluster's registry\nstage: bring python:3 (0123456789ab) onto 2 nodes "
	if got := strings.Join(f.Steps, "\n"); err != nil || f.Action != Replace || !strings.HasPrefix(got, copies) || !strings.HasSuffix(got, "; back to python:2 if one fails") {
		t.Errorf("got %s, %v, %s", f.Action, err, got)
	}
	f, err = runner.PlanDeploy(t.Context(), nil, fromHub(&Source{Registry: "docker.io", Note: "the copy is used"}), "")
	if got := strings.Join(f.Steps, "\n"); err != nil || !strings.HasPrefix(got, "note: the copy is used\nstage: ") {
		t.Errorf("got %v, %s", err, got)
	}
}

// A copy comes before all else, and is told of; without it nothing is changed.
func TestDeploy_Copies(t *testing.T) {
	t.Parallel()
	gone := errors.New("image python:3: docker.io can't be reached: no route")
	d := fromHub(&Source{Registry: "docker.io", Note: "mind", Copy: func(_ context.Context, see func(bytes, total int64)) error {
		for bytes := range int64(101) {
			see(bytes, 100)
		}
		return gone
	}})
	d.At = func(stage string) error {
		t.Errorf("it comes to stage %s", stage)
		return nil
	}
	var heard []Progress
	_, err := NewRunner(nil, nil, slog.New(slog.DiscardHandler)).Deploy(t.Context(), nil, d, func(step string, p Progress) {
		if step != StageCopy {
			t.Errorf("step %s", step)
		}
		heard = append(heard, p)
	})
	if !errors.Is(err, gone) || err.Error() != "base: "+gone.Error() {
		t.Errorf("got %v", err)
	}
	want := Progress{From: "docker.io", Bytes: 100, Total: 100}
	if len(heard) < 3 || len(heard) > 50 || heard[0].LastErr != "mind" || heard[len(heard)-1] != want {
		t.Errorf("heard %+v", heard)
	}
}
