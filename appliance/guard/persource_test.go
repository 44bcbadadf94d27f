package guard

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// TestPerSourceLimit_LargestIsLargest compares the book with one that counts all, over a
// long random run.
func TestPerSourceLimit_LargestIsLargest(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	w, in, sizes := newPerSourceLimit(), []*conn{}, map[netip.Prefix]int{}
	for range 20000 {
		if len(in) > 0 && rnd.IntN(100) < 49 {
			i := rnd.IntN(len(in))
			c := in[i]
			in = append(in[:i], in[i+1:]...)
			sizes[c.group.prefix]--
			w.remove(c)
		} else {
			c, prefix := new(conn), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(20))}), 32)
			in = append(in, c)
			sizes[prefix]++
			w.add(c, prefix)
		}
		most := 0
		for _, n := range sizes {
			most = max(most, n)
		}
		if w.n != len(in) || w.top != most ||
			most > 0 && (w.largest().len() != most || sizes[w.largest().prefix] != most) {
			t.Fatalf("%d strangers, largest group %d; want %d and %d", w.n, w.top, len(in), most)
		}
	}
}
