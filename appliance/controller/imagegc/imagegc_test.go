package imagegc

import (
	"reflect"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

func TestOutdated(t *testing.T) {
	t.Parallel()
	entries := []history.Entry{
		{Image: "x:4", Digest: "d4"}, {Image: "x:3", Digest: "d3"}, {Image: "x:2"},
		{Image: "x:1", Digest: "d1"}, {Image: "x:3", Digest: "d3"},
	}
	if got, want := outdated(seen{entries, map[string]bool{"d4": true}}), [][]string{
		{"x:3@d3", "x:1@d1"},
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := outdated(seen{entries, map[string]bool{"d4": true, "d3": true, "d1": true}}); got != nil {
		t.Errorf("where all are kept, %v go", got)
	}
}
