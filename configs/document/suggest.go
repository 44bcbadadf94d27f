package document

import (
	"fmt"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// UnknownKey words the error for a key that is not among known.
// Both are full names like "registry.port".
func UnknownKey(key string, known []string) string {
	// Only the last part counts: a long way to it would make all of them near.
	parent := key[:strings.LastIndex(key, ".")+1]
	var beside []string
	for _, k := range known {
		if rest, ok := strings.CutPrefix(k, parent); ok {
			beside = append(beside, rest)
		}
	}
	if near := words.Nearest(key[len(parent):], beside); near != "" {
		return fmt.Sprintf("unknown key %q (did you mean %q?)", key, parent+near)
	}
	return fmt.Sprintf("unknown key %q", key)
}
