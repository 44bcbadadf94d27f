package runs

import (
	"strings"
	"unicode"
)

// Excerpt is what is kept of the log of a run: how that of one task begins and ends.
type Excerpt struct {
	Slot  int      `json:"slot"`
	Node  string   `json:"node"`
	First []string `json:"first,omitempty"`
	Last  []string `json:"last,omitempty"`
	Gap   bool     `json:"gap,omitempty"` // there are lines between them
}

// What is kept of a log: lines, and bytes of each.
const (
	maxFirst = 10
	maxLast  = 20
	maxText  = 200
)

// NewExcerpt returns what is kept of a log that begins and ends with these lines. No begin: end is all of it.
func NewExcerpt(begin, end []string) *Excerpt {
	gap := len(begin) > 0
	if !gap {
		n := min(len(end), maxFirst)
		begin, end = end[:n], end[n:]
	}
	begin, last := begin[:min(len(begin), maxFirst)], end[max(0, len(end)-maxLast):]
	if len(begin) == 0 {
		return nil
	}
	return &Excerpt{First: plain(begin), Last: plain(last), Gap: gap || len(last) < len(end)}
}

// plain returns lines without what a terminal obeys, and not longer than they may be.
func plain(lines []string) (list []string) {
	for _, text := range lines {
		text = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(text[:min(len(text), 2*maxText)], "?"))
		if len(text) > maxText {
			text = strings.ToValidUTF8(text[:maxText-len("…")], "") + "…"
		}
		list = append(list, text)
	}
	return list
}

// shortened returns the excerpt with half as many lines, the last of the first and the first of the last being gone;
// nil: none is left.
func (e *Excerpt) shortened() *Excerpt {
	first, last := len(e.First)/2, len(e.Last)/2
	if first+last == 0 {
		return nil
	}
	is := *e
	is.First, is.Last, is.Gap = e.First[:first], e.Last[len(e.Last)-last:], true
	return &is
}
