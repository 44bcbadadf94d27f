package runs

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func lines(from, to int) (list []string) {
	for n := from; n < to; n++ {
		list = append(list, fmt.Sprint(n))
	}
	return list
}

func TestNewExcerpt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		begin, end []string
		want       string
	}{
		{"none", nil, nil, "none"},
		{"one", nil, lines(0, 1), "0 | "},
		{"what fits", nil, lines(0, 12), "0 1 2 3 4 5 6 7 8 9 | 10 11"},
		{"all that fits", nil, lines(0, 30), "0 1 2 3 4 5 6 7 8 9 | " + strings.Join(lines(10, 30), " ")},
		{"one more", nil, lines(0, 31), "0 1 2 3 4 5 6 7 8 9 … " + strings.Join(lines(11, 31), " ")},
		{"a long one", lines(0, 3), lines(50, 53), "0 1 2 … 50 51 52"},
		{
			"more than asked for", lines(0, 12), lines(50, 90),
			"0 1 2 3 4 5 6 7 8 9 … " + strings.Join(lines(70, 90), " "),
		},
	} {
		got, e := "none", NewExcerpt(c.begin, c.end)
		if e != nil {
			between := map[bool]string{false: " | ", true: " … "}[e.Gap]
			got = strings.Join(e.First, " ") + between + strings.Join(e.Last, " ")
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// FuzzNewExcerpt: whatever a spider writes, what is kept is short, printable and text.
func FuzzNewExcerpt(f *testing.F) {
	for _, seed := range []string{"", "a\x1b]0;title\x07b", "\xff\xfe\x00", strings.Repeat("é", 300), "x\u202ey"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		kept := NewExcerpt(nil, []string{text}).First[0]
		if len(kept) > maxText || !utf8.ValidString(kept) || strings.ContainsFunc(kept, unicode.IsControl) {
			t.Errorf("%q is kept as %q", text, kept)
		}
	})
}
