package exchange

import (
	"reflect"
	"testing"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

func TestPeerUse(t *testing.T) {
	var f peerUse
	for _, node := range []string{"c", "c", "b", "d"} {
		f.add(node)
	}
	f.remove("c")
	f.remove("d")
	if got, want := f.first([]string{"a", "b", "c", "d"}), []string{"b", "c", "a", "d"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the order is %v, want %v", got, want)
	}
}

func TestFetch_Helps(t *testing.T) {
	bits := func(pieces ...int) cut.Bitmap {
		b := cut.NewBitmap(10)
		for _, i := range pieces {
			b.Set(i)
		}
		return b
	}
	f := &fetch{}
	f.theirs.Store("node", bits(1, 2, 9))
	for _, c := range []struct {
		node       string
		have, told cut.Bitmap
		want       bool
	}{
		{"node", bits(0, 1), bits(0), false}, // it has 1 itself
		{"node", bits(0, 3), bits(0), true},
		{"node", bits(0, 3), bits(0, 3), false},
		{"node", bits(8, 9), bits(8), false},
		{"another", bits(0, 1), bits(0), true}, // not known what it has
	} {
		if got := f.helps(c.node, c.have, c.told); got != c.want {
			t.Errorf("news of %v after %v to %s: %v, want %v", c.have, c.told, c.node, got, c.want)
		}
	}
}
