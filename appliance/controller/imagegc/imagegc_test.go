package imagegc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/deploy/history/historytest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestOutdated(t *testing.T) {
	t.Parallel()
	entries := []history.Entry{
		{Image: "x:4", Digest: "d4"}, {Image: "x:3", Digest: "d3"}, {Image: "x:2"},
		{Image: "x:1", Digest: "d1"}, {Image: "x:3", Digest: "d3"},
	}
	if got, want := decide(seen{entries: entries, keep: map[string]bool{"d4": true}}), []outdated{
		{images: []string{"x:3@d3", "x:1@d1"}},
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := decide(seen{entries: entries, keep: map[string]bool{"d4": true, "d3": true, "d1": true}}); got != nil {
		t.Errorf("where all are kept, %v go", got)
	}
}

// noCluster has one service.
type noCluster struct{}

func (noCluster) Services(context.Context) ([]fleet.Service, error) {
	return []fleet.Service{{Name: "there", Digest: "d"}}, nil
}

// TestGone wants the histories of services to go that are gone for longest, after their images.
func TestGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	was := func(service, digest string, at int, r history.Result) {
		t.Helper()
		e := history.Entry{Version: 1, Image: "x:1", Digest: digest, At: time.Unix(int64(at), 0), Result: r}
		data, err := json.Marshal([]history.Entry{e})
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, service+".json"), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	was("there", "d", 1, history.Done)
	was("under-way", "d", 1, history.Running)
	for i := range history.KeptGone + 2 {
		was(fmt.Sprint("gone-", i), fmt.Sprint("g", i), 10+i, history.Done)
	}
	past, err := history.Open(historytest.In(dir))
	if err != nil {
		t.Fatal(err)
	}
	var forgotten []string
	held := true
	c := &collector{cluster: noCluster{}, past: past, log: slog.New(slog.DiscardHandler),
		forget: func(_ context.Context, images []string) bool {
			forgotten = images
			return !held
		}}
	round := controller.Round(c.observe, decide, c.act)
	if err := round(t.Context()); !errors.Is(err, errHeld) || len(past.Services()) != history.KeptGone+4 {
		t.Errorf("while images are held: %v, %d histories", err, len(past.Services()))
	}
	held = false
	if err := round(t.Context()); err != nil {
		t.Error(err)
	}
	slices.Sort(forgotten)
	if !slices.Equal(forgotten, []string{"x:1@g0", "x:1@g1"}) {
		t.Errorf("forgotten are the images %v", forgotten)
	}
	left := past.Services()
	if len(left) != history.KeptGone+2 || slices.Contains(left, "gone-0") || slices.Contains(left, "gone-1") ||
		!slices.Contains(left, "there") || !slices.Contains(left, "under-way") {
		t.Errorf("%d histories are left", len(left))
	}
	if err := past.Forget("there", 7); err != nil || len(past.List("there")) != 1 {
		t.Errorf("one that has changed since: %v, %v", past.List("there"), err)
	}
}
