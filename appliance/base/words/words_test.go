package words_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

func TestOneLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", " a\r\n\tb ": "a b", "a\u2028b\vc": "a b c"} {
		if got := words.OneLine(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0 nodes", 1: "1 node", 2: "2 nodes"} {
		if got := words.Count(n, "node"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBrief(t *testing.T) {
	t.Parallel()
	a, b := errors.New("line 2:\nno"), errors.New("line 3: no")
	for want, err := range map[string]error{
		"line 2: no":                        a,
		"3 mistakes, the first: line 2: no": errors.Join(errors.Join(a, b), b),
		"read: line 2: no line 3: no":       fmt.Errorf("read: %w", errors.Join(a, b)),
	} {
		if got := words.Brief(err, "mistake"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSome(t *testing.T) {
	t.Parallel()
	for most, want := range map[int]string{1: "a and 2 more", 2: "a, b and 1 more", 3: "a, b, c", 4: "a, b, c"} {
		if got := words.Some([]string{"a", "b", "c"}, most); got != want {
			t.Errorf("%d: got %q, want %q", most, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"spider", "spare", "port", "ports", "web"}
	for name, want := range map[string]string{
		"spidr":   "spider",
		"SPIDER":  "spider",
		"spiders": "spider",
		"prot":    "port",
		"portz":   "port",
		"wbe":     "",
		"w":       "",
		"xyz":     "",
		"":        "",
	} {
		if got := words.Nearest(name, known); got != want {
			t.Errorf("%q is near %q, want %q", name, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"ab", "ba", 2}} {
		if got := words.Distance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
