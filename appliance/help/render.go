package help

import (
	"regexp"
	"strings"
)

// The subset of Markdown that the manual uses is rendered here, in place of a
// library: the smallest that renders for terminals brings a highlighter of some
// hundred languages, which is larger than the manual.

// Style writes text in bold or in another style of a terminal.
type Style func(text string) string

// Styles says how a page is emphasised. A nil Style leaves text as it is.
type Styles struct {
	Heading Style
	Strong  Style
	Code    Style
}

func (s Style) write(text string) string {
	if s == nil {
		return text
	}
	return s(text)
}

// maxWidth is the longest line that reads well, in columns.
const maxWidth = 100

// Render returns Markdown as text for a terminal of width columns. A width of 0 is
// no terminal: lines then have up to 80 columns. Code and tables whose cells cannot
// be wrapped keep lines that are longer.
func Render(markdown string, width int, styles Styles) string {
	if width <= 0 {
		width = 80
	}
	p := &printer{width: min(width, maxWidth), styles: styles}
	lines := strings.Split(strings.TrimRight(markdown, "\n"), "\n")
	for len(lines) > 0 {
		lines = p.block(lines)
	}
	return p.out.String()
}

type printer struct {
	out    strings.Builder
	width  int
	styles Styles
}

var listItem = regexp.MustCompile(`^(\s*)([-*]|\d+\.)\s+`)

// block renders the first block of lines and returns the lines after it.
func (p *printer) block(lines []string) []string {
	line := lines[0]
	switch {
	case strings.TrimSpace(line) == "":
		return lines[1:]
	case strings.HasPrefix(line, "<!--"):
		return lines[1:]
	case strings.HasPrefix(line, "#"):
		p.heading(line)
		return lines[1:]
	case strings.HasPrefix(line, "```"):
		return p.fenced(lines[1:])
	case strings.HasPrefix(line, "|"):
		n := prefixLen(lines, func(s string) bool { return strings.HasPrefix(s, "|") })
		p.table(lines[:n])
		return lines[n:]
	case listItem.MatchString(line):
		return p.list(lines)
	}
	n := prefixLen(lines, isText)
	p.gap()
	p.wrap(strings.Join(lines[:n], " "), "", "")
	return lines[n:]
}

// isText reports whether a line goes on with a paragraph.
func isText(line string) bool {
	return strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "```") &&
		!strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "<!--") && !listItem.MatchString(line)
}

func prefixLen(lines []string, keep func(string) bool) int {
	for i, line := range lines {
		if !keep(line) {
			return i
		}
	}
	return len(lines)
}

// gap puts an empty line between two blocks.
func (p *printer) gap() {
	if p.out.Len() > 0 {
		p.out.WriteByte('\n')
	}
}

func (p *printer) heading(line string) {
	text := strings.TrimLeft(line, "# ")
	p.gap()
	if strings.HasPrefix(line, "# ") {
		text = strings.ToUpper(text)
	}
	p.out.WriteString(p.styles.Heading.write(text) + "\n")
}

func (p *printer) fenced(lines []string) []string {
	p.gap()
	for i, line := range lines {
		if strings.HasPrefix(line, "```") {
			return lines[i+1:]
		}
		p.out.WriteString(strings.TrimRight("    "+line, " ") + "\n")
	}
	return nil
}

// list renders the items that follow each other, each with the lines that are
// indented below it.
func (p *printer) list(lines []string) []string {
	p.gap()
	for len(lines) > 0 && listItem.MatchString(lines[0]) {
		mark := listItem.FindString(lines[0])
		n := 1 + prefixLen(lines[1:], func(s string) bool {
			return strings.HasPrefix(s, "  ") && !listItem.MatchString(s)
		})
		text := lines[0][len(mark):]
		for _, line := range lines[1:n] {
			text += " " + strings.TrimSpace(line)
		}
		p.wrap(text, "  "+mark, strings.Repeat(" ", len(mark)+2))
		lines = lines[n:]
	}
	return lines
}

// wrap writes a paragraph whose first line begins with first and all others with
// rest, which are equally wide.
func (p *printer) wrap(text, first, rest string) {
	for _, line := range p.styles.fill(text, p.width-len(rest)) {
		p.out.WriteString(strings.TrimRight(first+line.text, " ") + "\n")
		first = rest
	}
}
