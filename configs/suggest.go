package configs

import (
	"fmt"
	"slices"
	"strings"
)

// unknownKey words the error for a key that is not among known.
// Both are full names like "registry.port".
func unknownKey(key string, known []string) string {
	if near := Nearest(key, known); near != "" {
		return fmt.Sprintf("unknown key %q (did you mean %q?)", key, near)
	}
	return fmt.Sprintf("unknown key %q", key)
}

// Nearest returns the known name that a typing error most likely stood for, or
// nothing: a wild guess misleads more than it helps.
func Nearest(key string, known []string) string {
	best, limit := "", max(1, len(key)/3)+1
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
