// Package words helps to word messages. Packages that know nothing of each other say things
// the same way by it.
package words

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// OneLine folds the white space of a text, so that what others wrote cannot break out of
// its line.
func OneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// WithoutMark returns a text without the byte order mark that editors of Windows put before it.
func WithoutMark(s string) string { return strings.TrimPrefix(s, "\ufeff") }

// Error returns an error that reads as format says and is of a kind for errors.Is, whose own words
// would say the same again.
func Error(kind error, format string, args ...any) error {
	return &kinded{kind, fmt.Sprintf(format, args...)}
}

type kinded struct {
	kind error
	text string
}

func (e *kinded) Error() string { return e.text }
func (e *kinded) Unwrap() error { return e.kind }

// SplitErrors returns the errors that errors.Join has joined. Other errors with several causes
// have words of their own around them.
func SplitErrors(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err}
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, SplitErrors(err)...)
	}
	return all
}

// Brief returns an error in one line; of several that are joined, how many of what they are, and the
// first.
func Brief(err error, what string) string {
	all := SplitErrors(err)
	first := OneLine(all[0].Error())
	if len(all) == 1 {
		return first
	}
	return Count(len(all), what) + ", the first: " + first
}

// Count words a number of things: "1 node", "2 nodes".
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Some lists names, most of them at the most: "h1, h2 and 3 more".
func Some(names []string, most int) string {
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// Nearest returns the known name that a typing error most likely stood for, or nothing:
// a wild guess misleads more than it helps. Known names are in lower case.
func Nearest(name string, known []string) string {
	edits := max(1, len(name)/3)
	if len(name) == 4 || len(name) == 5 {
		edits = 2 // two letters that changed places
	}
	best, least := "", edits+1
	for _, candidate := range slices.Sorted(slices.Values(known)) {
		if d := Distance(strings.ToLower(name), candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// Distance returns the Levenshtein distance of two names: how many bytes to change, add
// or drop. Names are short, so it is not worth a library.
func Distance(a, b string) int {
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
