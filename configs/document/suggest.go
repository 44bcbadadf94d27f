package document

import (
	"fmt"
	"slices"
	"strings"
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
	if near := Nearest(key[len(parent):], beside); near != "" {
		return fmt.Sprintf("unknown key %q (did you mean %q?)", key, parent+near)
	}
	return fmt.Sprintf("unknown key %q", key)
}

// Nearest returns the known name that a typing error most likely stood for, or
// nothing: a wild guess misleads more than it helps.
func Nearest(key string, known []string) string {
	edits := max(1, len(key)/3)
	if len(key) == 4 || len(key) == 5 {
		edits = 2 // two letters that changed places
	}
	best, limit := "", edits+1
	sorted := slices.Sorted(slices.Values(known))
	for _, candidate := range sorted {
		if d := distance(strings.ToLower(key), candidate, limit); d < limit {
			best, limit = candidate, d
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b, or limit if it is no less.
func distance(a, b string, limit int) int {
	if abs := len(a) - len(b); abs >= limit || -abs >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
