package node

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
)

// TestLeft wants a node that is out of its cluster to end, whatever it could not clean up.
func TestLeft(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		ends bool
	}{
		{nil, true},
		{fmt.Errorf("%w (busy)", setup.ErrUnclean), true},
		{errors.New("do so with --force"), false},
	} {
		n := &Node{}
		var ctx context.Context
		ctx, n.leaving = context.WithCancelCause(t.Context())
		if err := n.left(tc.err); !errors.Is(err, tc.err) || errors.Is(context.Cause(ctx), ErrLeft) != tc.ends {
			t.Errorf("%v: returned %v, ended by %v", tc.err, err, context.Cause(ctx))
		}
		n.leaving(nil)
	}
}
