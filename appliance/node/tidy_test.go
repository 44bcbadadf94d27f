package node

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
	keep := map[string]bool{"d4": true}
	if got, want := outdated(entries, keep), []string{"x:3@d3", "x:1@d1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := outdated(entries, keep); got != nil {
		t.Errorf("they are named again: %v", got)
	}
}
