package document

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// maxMisplaced is how many places are named to which a key may belong.
const maxMisplaced = 3

// UnknownKey words the error for a key that is not among known, and names the places elsewhere that
// have a key of its name. All are full names like "registry.port".
func UnknownKey(key string, known, elsewhere []string) string {
	if slices.Contains(elsewhere, key) {
		return fmt.Sprintf("unknown key %q (write it as keys below each other, without a dot)", key)
	}
	// Only the last part counts: a long way to it would make all of them near.
	parent := key[:strings.LastIndex(key, ".")+1]
	name := key[len(parent):]
	meant := keysOf(name, elsewhere)
	if len(meant) == 0 || len(meant) > maxMisplaced {
		meant = nil
		var beside []string
		for _, k := range known {
			if rest, ok := strings.CutPrefix(k, parent); ok {
				beside = append(beside, rest)
			}
		}
		if near := words.Nearest(name, beside); near != "" {
			meant = []string{strconv.Quote(parent + near)}
		}
	}
	if len(meant) == 0 {
		return fmt.Sprintf("unknown key %q", key)
	}
	return fmt.Sprintf("unknown key %q (did you mean %s?)", key, strings.Join(meant, " or "))
}

// keysOf returns the keys of a name, quoted, the shortest way to one first.
func keysOf(name string, keys []string) (list []string) {
	for _, k := range keys {
		if k == name || strings.HasSuffix(k, "."+name) {
			list = append(list, strconv.Quote(k))
		}
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	return list
}
