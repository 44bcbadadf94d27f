package setup

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwaitMove: a node ends for another address that stays, not for one that comes and goes.
func TestAwaitMove(t *testing.T) {
	t.Parallel()
	own, a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("10.0.0.8")
	none := netip.Addr{}
	for name, tc := range map[string]struct {
		looks []netip.Addr // that a start would take; none: it would take no other
		ends  int          // looks until the node ends; 0: it does not
	}{
		"it stays":          {[]netip.Addr{none, none, none}, 0},
		"it is moved":       {[]netip.Addr{none, a, a, a}, 4},
		"only for a moment": {[]netip.Addr{a, a, none, a, a, none}, 0},
		"twice":             {[]netip.Addr{a, a, b, b, b}, 5},
		"back and forth":    {[]netip.Addr{a, b, a, b, a, b}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			n := 0
			err := awaitMove(ctx, own, func() (netip.Addr, bool) {
				n++
				if n > len(tc.looks) {
					return none, false
				}
				return tc.looks[n-1], tc.looks[n-1].IsValid()
			})
			if (err != nil) != (tc.ends > 0) || err != nil && n != tc.ends {
				t.Errorf("%s: after %d looks: %v", name, n, err)
			}
			if tc.ends == 0 || err == nil {
				return
			}
			if has := tc.looks[tc.ends-1].String(); !strings.Contains(err.Error(), has+" now, and no longer 10.0.0.1") {
				t.Errorf("%s: got %v", name, err)
			}
		})
	}
}
