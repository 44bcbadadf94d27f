package agent

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

func TestTooOld(t *testing.T) {
	t.Parallel()
	other := errors.New("no route to host")
	for _, c := range []struct {
		err  error
		says string
	}{
		{fmt.Errorf("ask the crawlbox there: %w", &StatusError{Code: http.StatusNotFound}), upgrade.TooOld},
		{fmt.Errorf("ask the crawlbox there: %w",
			&StatusError{Code: http.StatusForbidden}), "ask the crawlbox there: it answers 403 Forbidden"},
		{fmt.Errorf("no crawlbox is known on h2: %w", deploy.ErrNoAgent), "no crawlbox runs there"},
		{other, other.Error()},
	} {
		if got := tooOld(c.err).Error(); got != c.says {
			t.Errorf("%v is told as %q, want %q", c.err, got, c.says)
		}
	}
}
