package naming

import (
	"path/filepath"
	"testing"
)

func TestJoin(t *testing.T) {
	t.Parallel()
	for unit, want := range map[string]string{
		t.TempDir():                           "crawlbox install worker --join ",
		filepath.Join(t.TempDir(), "nowhere"): "crawlbox worker --join ",
	} {
		if got := joinBy(unit, RoleWorker); got != want {
			t.Errorf("%s: got %q", unit, got)
		}
	}
}
