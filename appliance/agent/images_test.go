package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestHolders(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	for i := range 50 {
		c.nodes = append(c.nodes, fleet.Node{Display: fmt.Sprint(i), Addr: c.here.Addr, State: fleet.StateReady})
	}
	c.nodes[7].State = "down"
	var together sync.WaitGroup // all are asked at once, or this hangs
	together.Add(49)
	var asked atomic.Int32
	log := slog.New(slog.DiscardHandler)
	c.peers.own[routeImages] = imagesCall.Handler(log, func(context.Context, Peer, None) (imagesAnswer, error) {
		nth := asked.Add(1)
		together.Done()
		together.Wait()
		switch nth {
		case 8:
			return imagesAnswer{}, errors.New("no answer")
		case 9:
			return imagesAnswer{[]string{"base"}}, nil
		}
		return imagesAnswer{[]string{"base", "spider"}}, nil
	})
	of, err := c.peers.Holders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 49 {
		t.Errorf("%d nodes were asked, the one that is down too", n)
	}
	for digest, have := range map[string]int{"base": 48, "spider": 47, "other": 0} {
		if got, want := *of(digest), (fleet.Holders{Have: have, All: 50, Unknown: 2}); got != want {
			t.Errorf("%s: got %+v, want %+v", digest, got, want)
		}
	}
}

func TestDigestIn(t *testing.T) {
	t.Parallel()
	const d = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if got, ok := digestIn("localhost:8003/spider:1@" + d); !ok || got != d {
		t.Errorf("got %s, %v", got, ok)
	}
	for _, image := range []string{"", "spider:1", "spider@", "spider@sha256:12", "spider@../../x"} {
		if got, ok := digestIn(image); ok {
			t.Errorf("%q has %s", image, got)
		}
	}
}
