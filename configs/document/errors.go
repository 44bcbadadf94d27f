package document

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Error is one thing that is wrong with the configuration.
type Error struct {
	// File is the config file, or the variable or flag that holds the value.
	File string
	// Line counts from 1; 0 when the place has no lines.
	Line int
	// Reason says what is wrong and what to do about it, in one line.
	Reason string
}

func (e *Error) Error() string {
	switch {
	case e.File == "":
		return e.Reason
	case e.Line == 0:
		return e.File + ": " + e.Reason
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// Problems collects what is wrong with one file, so that a user hears all of it at
// once.
type Problems struct {
	File string
	Errs []*Error // in the order in which they were found
}

// Addf adds a problem of the file at a line; 0 is the file as a whole.
func (p *Problems) Addf(line int, format string, args ...any) {
	p.Add(&Error{File: p.File, Line: line, Reason: words.OneLine(fmt.Sprintf(format, args...))})
}

// Add adds a problem, of this file or of another place.
func (p *Problems) Add(err *Error) { p.Errs = append(p.Errs, err) }

// Err returns all problems, ordered by file and line, each once, through errors.Join.
func (p *Problems) Err() error {
	sorted := slices.Clone(p.Errs)
	slices.SortStableFunc(sorted, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	unique := slices.CompactFunc(sorted, func(a, b *Error) bool { return *a == *b })
	all := make([]error, len(unique))
	for i, e := range unique {
		all[i] = e
	}
	return errors.Join(all...)
}
