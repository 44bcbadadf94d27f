package control

import (
	"errors"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// TestExplainQuorum: what Swarm says about its Raft reaches the user with the node's name and what to do.
func TestExplainQuorum(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"attempting to demote the last manager of the swarm":                       "promote another node first",
		"can't find manager in raft memberlist":                                    "run the same command again",
		"can't remove member from the raft: this would result in a loss of quorum": "would be too few",
	} {
		var e *api.Error
		err := explainQuorum(fleet.Node{Display: "h2"}, errors.New("rpc error: "+said))
		if !errors.As(err, &e) || e.Code != api.CodeConflict || strings.Contains(e.Message, "rpc error") ||
			!strings.HasPrefix(e.Message, "h2 ") || !strings.Contains(e.Message, want) {
			t.Errorf("%s: %v, want %q", said, err, want)
		}
	}
	if err := explainQuorum(fleet.Node{}, nil); err != nil {
		t.Error(err)
	}
}
