package help

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// word is a piece of a paragraph that is not broken, as it is written.
type word struct {
	text  string // with styles
	width int    // columns
}

// inline matches a code span, strong text or a link.
var inline = regexp.MustCompile("`[^`]+`" + `|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\)`)

// fill breaks a paragraph into lines of up to width columns.
func (s Styles) fill(text string, width int) (lines []word) {
	var line word
	for _, w := range s.words(text, width) {
		switch {
		case line.width == 0:
			line = w
		case line.width+1+w.width <= width:
			line = word{line.text + " " + w.text, line.width + 1 + w.width}
		default:
			lines = append(lines, line)
			line = w
		}
	}
	return append(lines, line)
}

// words takes a paragraph apart where it may be broken: at spaces, but for those of
// a command that fits into half a line.
func (s Styles) words(text string, width int) []word {
	var list []word
	glued := false // the next piece belongs to the last word
	add := func(piece string, style Style) {
		w := word{style.write(piece), utf8.RuneCountInString(piece)}
		if glued && len(list) > 0 {
			last := &list[len(list)-1]
			w = word{last.text + w.text, last.width + w.width}
			list = list[:len(list)-1]
		}
		list = append(list, w)
		glued = true
	}
	addAll := func(piece string, style Style) {
		if strings.HasPrefix(piece, " ") {
			glued = false
		}
		for _, field := range strings.Fields(piece) {
			add(field, style)
			glued = false
		}
		glued = piece != "" && !strings.HasSuffix(piece, " ")
	}
	text = strings.ReplaceAll(text, `\|`, "|")
	for text != "" {
		at := inline.FindStringIndex(text)
		if at == nil {
			addAll(text, nil)
			break
		}
		if at[0] > 0 {
			addAll(text[:at[0]], nil)
		}
		span := text[at[0]:at[1]]
		text = text[at[1]:]
		switch span[0] {
		case '`':
			if s.Code != nil {
				span = strings.Trim(span, "`")
			}
			if utf8.RuneCountInString(span) <= width/2 {
				add(span, s.Code)
			} else {
				addAll(span, s.Code)
			}
		case '*':
			addAll(strings.Trim(span, "*"), s.Strong)
		default:
			addAll(linkText(span), nil)
		}
	}
	return list
}

// linkText says where a link leads where nothing can be clicked: to another page of
// the manual, or out of it.
func linkText(link string) string {
	text, target, _ := strings.Cut(strings.TrimSuffix(link[1:], ")"), "](")
	page, _, _ := strings.Cut(target, "#")
	topic, isPage := strings.CutSuffix(page, ".md")
	switch {
	case strings.Contains(target, "://"):
		return text + " (" + target + ")"
	case isPage && !strings.Contains(topic, "/"):
		return text + " (crawlbox help " + topic + ")"
	}
	return text
}
