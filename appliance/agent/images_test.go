package agent

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestCountHolders(t *testing.T) {
	t.Parallel()
	var nodes []fleet.Node
	for i := range 50 {
		nodes = append(nodes, fleet.Node{Display: fmt.Sprint(i), State: fleet.StateReady})
	}
	nodes[7].State = "down"
	var together sync.WaitGroup // all are asked at once, or this hangs
	together.Add(49)
	h := countHolders(nodes, func(n fleet.Node) ([]string, error) {
		together.Done()
		together.Wait()
		switch n.Display {
		case "7":
			t.Error("a node that is down is asked")
		case "8":
			return nil, errors.New("no answer")
		case "9":
			return []string{"base"}, nil
		}
		return []string{"base", "spider"}, nil
	})
	for digest, have := range map[string]int{"base": 48, "spider": 47, "other": 0} {
		if got, want := *h.of(digest), (fleet.Holders{Have: have, All: 50, Unknown: 2}); got != want {
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
