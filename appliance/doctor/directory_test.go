package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

func TestDirectory(t *testing.T) {
	t.Parallel()
	testenv.Root(t)
	if err := Directory(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("of none: %v", err)
	}
	for _, c := range []struct {
		uid, gid int
		mode     os.FileMode
		want     bool
	}{
		{0, 0, 0o700, true}, {0, 0, 0o755, true}, {0, 0, 0o775, true}, {0, 4, 0o750, true},
		{0, 4, 0o770, false}, {0, 0, 0o777, false}, {65534, 0, 0o700, false},
	} {
		dir := t.TempDir()
		if err := errors.Join(os.Chown(dir, c.uid, c.gid), os.Chmod(dir, c.mode)); err != nil {
			t.Fatal(err)
		}
		if err := Directory(dir); (err == nil) != c.want || err != nil && !strings.Contains(err.Error(), dir) {
			t.Errorf("%d:%d with mode %o: %v", c.uid, c.gid, c.mode, err)
		}
	}
}
