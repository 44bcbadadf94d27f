package tui

import (
	"cmp"
	"fmt"
	"strings"

	"golang.org/x/text/width"
)

// Mark stands before a sentence.
type Mark struct {
	Text  string // one character
	Style string
}

var problem = Mark{"!", Red}

// Remark stands before what is as it should be.
var Remark = Mark{"-", Dim}

// WriteProblem writes a sentence on what is wrong.
func WriteProblem(s Screen, text string) { WriteMarked(s, problem, text) }

// WriteMarked writes a sentence behind a mark.
func WriteMarked(s Screen, m Mark, text string) {
	lines := s.Wrap("  "+m.Text, text)
	lines[0] = "  " + s.Styled(m.Style, m.Text) + strings.TrimPrefix(lines[0], "  "+m.Text)
	fmt.Fprintln(s.W, strings.Join(lines, "\n"))
}

// Say writes a sentence that stays.
func (s Screen) Say(text string) error {
	_, err := fmt.Fprintln(s.W, strings.Join(s.Sentence(text), "\n"))
	return err
}

// Sentence breaks a text that stays into lines, between its words. One that is longer than a line
// is left to the terminal, from which it is copied in one piece.
func (s Screen) Sentence(text string) []string {
	if s.Width == 0 {
		return []string{text}
	}
	return s.fill(spans(visible(text), s.Width-len(indent)), indent)
}

// indent is before the lines of a sentence but for the first.
const indent = "  "

// Wrap breaks a text between its words, as no terminal does, into lines that are no longer than the
// screen is wide. They are indented as far as lead is long, which stands before the first, and a
// space. A word that is longer than a line is broken within. Where there is no terminal it is
// one line.
func (s Screen) Wrap(lead, text string) []string {
	if s.Width == 0 {
		return []string{lead + " " + strings.Join(strings.Fields(text), " ")}
	}
	room := s.Width - columns(lead) - 1
	words := append([]string{lead}, chop(spans(visible(text), room), room)...)
	return s.fill(words, strings.Repeat(" ", columns(lead)+1))
}

// fill puts words into lines, indented from the second on.
func (s Screen) fill(words []string, indent string) (lines []string) {
	for i, word := range words {
		last := len(lines) - 1
		switch {
		case i == 0:
			lines = append(lines, word)
		case columns(lines[last])+1+columns(word) <= s.Width:
			lines[last] += " " + word
		default:
			lines = append(lines, indent+word)
		}
	}
	return lines
}

// chop returns words, in parts those that are longer than so many columns, where these are more than 0.
func chop(words []string, room int) (list []string) {
	if room < 1 {
		return words
	}
	for _, word := range words {
		for word != "" {
			part := cmp.Or(prefix(word, room), word)
			list, word = append(list, part), word[len(part):]
		}
	}
	return list
}

// spans returns the words of a text. A command between backticks is one of them where it fits into
// so many columns: it is copied.
func spans(text string, room int) (list []string) {
	begin := -1 // of a command, in the list
	for word := range strings.FieldsSeq(text) {
		list = append(list, word)
		if strings.Count(word, "`")%2 == 0 {
			continue
		}
		if begin < 0 {
			begin = len(list) - 1
			continue
		}
		if command := strings.Join(list[begin:], " "); columns(command) <= room {
			list = append(list[:begin], command)
		}
		begin = -1
	}
	return list
}

// columns returns how wide a text is on a terminal, of which visible has made what is shown.
func columns(text string) (n int) {
	for _, r := range text {
		n += columnsOf(r)
	}
	return n
}

// columnsOf returns 2 for what is as wide as two letters, such as Chinese.
func columnsOf(r rune) int {
	kind := width.LookupRune(r).Kind()
	if kind == width.EastAsianWide || kind == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// prefix returns as much of the beginning of a text as fits into so many columns.
func prefix(text string, room int) string {
	for i, r := range text {
		if room -= columnsOf(r); room < 0 {
			return text[:i]
		}
	}
	return text
}
