package enroll

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
)

// TestNews_Leaving: a node that leaves hears what it wanted, which is nothing to warn of.
func TestNews_Leaving(t *testing.T) {
	t.Parallel()
	for _, leaving := range []bool{false, true} {
		var out bytes.Buffer
		n := News{Learn: func(pki.Membership) {}, Log: slog.New(slog.NewTextHandler(&out, nil))}
		hear := func() error { n.Hear(pki.Membership{}, pki.ErrRemoved); return nil }
		if leaving {
			_ = n.Leaving(hear)
		} else {
			_ = n.Leaving(func() error { return context.Canceled }) // it does not come to that
			_ = hear()
		}
		warns, left := strings.Contains(out.String(), "level=WARN"), strings.Contains(out.String(), "has left")
		if warns == leaving || left != leaving || (n.Refused() == "") != leaving {
			t.Errorf("leaving %t: it says %q, and is refused for %q", leaving, &out, n.Refused())
		}
	}
}
