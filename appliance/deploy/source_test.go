package deploy

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/deploy/history/historytest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// fromHub returns a deploy of an image that docker.io has.
func fromHub(from *Source) Deploy {
	return Deploy{
		Service: "base",
		Source:  from,
		Pull:    PullPolicy{Share{percent: 100}, time.Minute},
		Change: servicespec.Deployment{Image: "localhost:8003/mirror/docker.io/library/python:3@sha256:" +
			strings.Repeat("0123456789abcdef", 4)},
	}
}

func TestPlanDeploy_OfAnotherRegistry(t *testing.T) {
	t.Parallel()
	runner := NewRunner(planned{}, nil, nil, slog.New(slog.DiscardHandler))
	runs := &fleet.Service{
		ID:      "id",
		Name:    "base",
		Mode:    fleet.ModeReplicated,
		Image:   "localhost:8003/mirror/docker.io/library/python:2",
		Desired: 1,
	}
	f, err := runner.Deploy(runs, fromHub(
		&Source{Registry: "docker.io", Copy: func(context.Context, func(bytes, total int64)) error {
			t.Error("a plan copies an image")
			return nil
		}})).Plan(t.Context())
	const copies = "copy: python:3 (0123456789ab) from docker.io into the cluster's registry\npull: bring python:3 " +
		"(0123456789ab) onto 2 nodes "
	if got := strings.Join(f.Steps, "\n"); err != nil || f.Action != Replace || !strings.HasPrefix(got, copies) ||
		!strings.HasSuffix(got, "; back to python:2 if one fails") {
		t.Errorf("got %s, %v, %s", f.Action, err, got)
	}
	f, err = runner.Deploy(nil, fromHub(&Source{Registry: "docker.io", Note: "the copy is used"})).Plan(t.Context())
	if got := strings.Join(f.Steps, "\n"); err != nil || !strings.HasPrefix(got, "note: the copy is used\npull: ") {
		t.Errorf("got %v, %s", err, got)
	}
}

// registryOf is a registry with some images.
type registryOf []string

func (r registryOf) Digest(_ context.Context, name string) (digest.Digest, error) {
	if slices.Contains(r, name) {
		return digest.FromString(name), nil
	}
	return "", fs.ErrNotExist
}

// TestCopies_OrOwn: who names an image as `crawlbox images` does is told its whole name.
func TestCopies_OrOwn(t *testing.T) {
	t.Parallel()
	c := &copies{registry: registryOf{"localhost:8003/spider:0.02", "localhost:8003/spider:latest"}, port: 8003}
	gone := errors.New("look up image: no such host")
	for named, want := range map[string]string{
		"spider:0.02": "name it localhost:8003/spider:0.02",
		"spider":      "name it localhost:8003/spider:latest",
		"spider:0.03": gone.Error(),
	} {
		ref, err := reference.ParseNormalizedNamed(named)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.orOwn(t.Context(), ref, gone); !errors.Is(err, gone) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", named, err, want)
		}
	}
	if err := c.orOwn(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
}

// A copy comes before all else, and is told of; without it nothing is changed.
func TestDeploy_Copies(t *testing.T) {
	t.Parallel()
	gone := errors.New("image python:3: docker.io can't be reached: no route")
	d := fromHub(&Source{
		Registry: "docker.io",
		Note:     "mind",
		Copy: func(_ context.Context, see func(bytes, total int64)) error {
			for bytes := range int64(101) {
				see(bytes, 100)
			}
			return gone
		},
	})
	past, err := history.Open(historytest.In(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	d.Entry.Kind = history.KindDeploy
	var heard []Progress
	err = NewRunner(nil, nil, past, slog.New(slog.DiscardHandler)).Deploy(nil, d).Run(t.Context(), func(p Progress) {
		if p.Stage != history.StageCopy {
			t.Errorf("stage %s", p.Stage)
		}
		heard = append(heard, p)
	})
	if !errors.Is(err, gone) || err.Error() != "base: "+gone.Error() {
		t.Errorf("got %v", err)
	}
	want := Progress{
		Service: "base",
		Stage:   history.StageCopy,
		Copied:  Copied{From: "docker.io", Bytes: 100, Total: 100},
	}
	if len(heard) < 3 || len(heard) > 50 || heard[0].Note != "mind" || heard[len(heard)-1] != want {
		t.Errorf("heard %+v", heard)
	}
	if list := past.List("base"); len(list) > 0 {
		t.Errorf("it comes to stage %s", list[0].Stage)
	}
}
