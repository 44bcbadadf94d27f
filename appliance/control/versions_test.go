package control

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/embedded/gossip"
)

func TestMixed(t *testing.T) {
	t.Parallel()
	var members []gossip.Member
	add := func(name, version string, state gossip.State) {
		members = append(members, gossip.Member{Node: gossip.Node{Name: name, Version: version}, State: state})
	}
	add("h1", "1.0", gossip.Alive)
	add("gone", "0.9", gossip.Left)
	if got := mixed(members); got != nil {
		t.Errorf("one version is told as %q", got)
	}
	for i := range 5 {
		add(fmt.Sprint("w", 5-i), "1.1", gossip.Alive)
	}
	if got := mixed(members); len(got) != 1 || !strings.Contains(got[0], "1.0 on h1, 1.1 on w1, w2, w3 and 2 more; ") {
		t.Errorf("got %q", got)
	}
}
