package configs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with the configuration. [Load] returns all
// of them, ordered by line, through errors.Join.
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

// problems collects errors of one file.
type problems struct {
	file string
	errs []*Error
	// envFiles are what services name, also those with errors.
	envFiles []string
}

func (p *problems) addf(line int, format string, args ...any) {
	p.add(&Error{File: p.file, Line: line, Reason: oneLine(fmt.Sprintf(format, args...))})
}

func (p *problems) add(err *Error) { p.errs = append(p.errs, err) }

func (p *problems) err() error {
	slices.SortStableFunc(p.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	unique := slices.CompactFunc(p.errs, func(a, b *Error) bool { return *a == *b })
	all := make([]error, len(unique))
	for i, e := range unique {
		all[i] = e
	}
	return errors.Join(all...)
}

// oneLine keeps a library's message with several lines on one.
func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}
