package help

import (
	"regexp"
	"strings"
)

// minCell is the narrowest column that text is wrapped in.
const minCell = 24

var cellEnd = regexp.MustCompile(`(^|[^\\])\|`)

// cells takes a row of a table apart.
func cells(row string) (list []string) {
	row = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(row), "|"), "|")
	for {
		at := cellEnd.FindStringIndex(row)
		if at == nil {
			return append(list, strings.TrimSpace(row))
		}
		list = append(list, strings.TrimSpace(row[:at[1]-1]))
		row = row[at[1]:]
	}
}

// table renders the rows of a table in columns, of which the last is wrapped; where
// there is no room for that, one below the other.
func (p *printer) table(lines []string) {
	p.gap()
	var rows [][]string
	for i, line := range lines {
		if i != 1 { // the line below the heads
			rows = append(rows, cells(line))
		}
	}
	for i := range rows { // rows may lack cells
		rows[i] = append(rows[i], make([]string, max(0, len(rows[0])-len(rows[i])))...)
	}
	widths := p.columns(rows)
	if p.width-sum(widths) < minCell {
		p.stack(rows[1:])
		return
	}
	for i, row := range rows {
		first, column := "", 0
		for j, width := range widths {
			line := p.oneLine(row[j])
			if i == 0 {
				line.text = p.styles.Strong.write(line.text)
			}
			first += pad(line.text, width-line.width)
			column += width
		}
		last := row[len(widths)]
		if i == 0 {
			p.out.WriteString(strings.TrimRight(first+p.styles.Strong.write(last), " ") + "\n")
			continue
		}
		p.wrap(last, first, strings.Repeat(" ", column))
	}
}

// columns returns the widths of all columns but the last, with the space after them.
func (p *printer) columns(rows [][]string) []int {
	widths := make([]int, len(rows[0])-1)
	for _, row := range rows {
		for j := range widths {
			widths[j] = max(widths[j], p.oneLine(row[j]).width+2)
		}
	}
	return widths
}

// stack renders rows that are too wide: the first cell, and below it the others.
func (p *printer) stack(rows [][]string) {
	for _, row := range rows {
		p.wrap(row[0], "", "")
		for _, text := range row[1:] {
			if text != "" {
				p.wrap(text, "    ", "    ")
			}
		}
	}
}

func (p *printer) oneLine(text string) word {
	const noWidth = 1 << 16
	return p.styles.fill(text, noWidth)[0]
}

func pad(text string, n int) string { return text + strings.Repeat(" ", max(0, n)) }

func sum(list []int) (n int) {
	for _, v := range list {
		n += v
	}
	return n
}
