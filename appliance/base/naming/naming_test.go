package naming_test

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

func TestChecks(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64)
	for _, rule := range []struct {
		check     func(string) error
		good, bad []string
	}{
		{
			naming.CheckService, []string{"a", "9", "Spider-2_b", "a__b", long[:63]},
			[]string{"", ".", "..", "-a", "a-", "_a", "a_", "a.b", "a/b", "a:b", "a b", "a\n", "ä", "a\x00", long},
		},
		{
			naming.CheckTag, []string{"a", "0.01", "_x", "V1-rc.2", long + long},
			[]string{"", ".1", "-1", "a b", "a/b", "a:b", "a\n", "ä", long + long + "a"},
		},
		{
			naming.CheckAccount, []string{"a", "0", "a.b_c-d", "a-", long[:32]},
			[]string{"", "-x", ".x", "..", "Ci", "a b", "a:b", "a/b", "a;b", "a\n", "é", long[:33]},
		},
		{
			naming.CheckRole, []string{naming.RoleManager, naming.RoleWorker},
			[]string{"", "Manager", "king", "worker\n"},
		},
	} {
		for _, name := range rule.good {
			if err := rule.check(name); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
		for _, name := range rule.bad {
			if rule.check(name) == nil {
				t.Errorf("%q is let in", name)
			}
		}
	}
}

func TestTagged(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"spider":                          "spider:latest",
		"spider:0.01":                     "spider:0.01",
		"localhost:8003/spider:0.01":      "spider:0.01",
		"localhost/spider":                "spider:latest",
		"[fd00::1]:8003/spider":           "spider:latest",
		"10.0.0.1:8003/teams/spider:0.01": "teams/spider:0.01",
		"teams/spider":                    "teams/spider:latest",
		"spider@sha256:00":                "spider@sha256:00",
		"":                                ":latest",
	} {
		if got := naming.Tagged(image); got != want {
			t.Errorf("%q: got %q, want %q", image, got, want)
		}
	}
}
