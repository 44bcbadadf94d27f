package data

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
)

// TestPush_NamesOneLine: a line that is bad is named, and no line where something else failed.
func TestPush_NamesOneLine(t *testing.T) {
	t.Parallel()
	socket, stop, err := clitest.Serve(apitest.New(clitest.Now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	many := strings.Repeat("u\n", batchItems+1)
	for name, tc := range map[string]struct {
		socket, text, want string
	}{
		"not text": {socket, "a\n\xff\n", "line 2: the item is not UTF-8 text; push it with redis-cli"},
		"not text, late": {
			socket, many + "\xff\n",
			"line 10002: the item is not UTF-8 text; push it with redis-cli (10000 items pushed before)",
		},
		"too long": {
			socket, "a\n" + strings.Repeat("b", batchBytes+1),
			"line 2 is longer than 1048576 bytes; push it with redis-cli",
		},
		"nobody answers": {socket + "-", many, "no crawlbox runs here"},
	} {
		p := &pusher{ctx: t.Context(), client: api.NewClient(tc.socket), key: "urls"}
		err := p.lines(strings.NewReader(tc.text))
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		got := p.explain(err).Error()
		if !strings.HasPrefix(got, tc.want) || strings.Count(got, "line ") > 1 {
			t.Errorf("%s: got %s\nwant %s", name, got, tc.want)
		}
	}
}
