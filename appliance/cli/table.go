package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// gap is between two columns of a table.
const gap = "  "

// column is one column of a table.
type column struct {
	head    string
	min     int  // the width to which it may be cut; 0: never
	atStart bool // cut its beginning
}

// cell is one text of a table.
type cell struct {
	text  string
	style string
}

// table is rendered like docker's: a line of heads, then rows. It never wraps:
// on a terminal columns are cut that may be, the widest first; in a pipe all is
// there in full.
type table struct {
	columns []column
	rows    []row
}

type row struct {
	cells []cell
	note  string // stands below the row
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, row{cells: cells}) }

// note adds a line below the last row.
func (t *table) note(text string) { t.rows[len(t.rows)-1].note = text }

func (t *table) write(s screen) {
	widths := t.widths(s.width)
	heads := make([]cell, len(t.columns))
	for i, c := range t.columns {
		heads[i].text = c.head
	}
	t.writeRow(s, heads, widths)
	for _, r := range t.rows {
		t.writeRow(s, r.cells, widths)
		if r.note != "" {
			fmt.Fprintln(s.w, s.styled(red, s.fit("  ! "+oneLine(r.note))))
		}
	}
}

// widths returns the width of each column in a line of the length given, 0
// meaning without bound.
func (t *table) widths(line int) []int {
	widths := make([]int, len(t.columns))
	total := len(gap) * (len(widths) - 1)
	for i, c := range t.columns {
		widths[i] = len(c.head)
		for _, r := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(r.cells[i].text))
		}
		total += widths[i]
	}
	for ; line > 0 && total > line; total-- {
		widest := -1
		for i, c := range t.columns {
			if c.min > 0 && widths[i] > c.min && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

func (t *table) writeRow(s screen, cells []cell, widths []int) {
	var b strings.Builder
	left := s.width
	for i, c := range cells {
		text := cut(c.text, widths[i], t.columns[i].atStart)
		if s.width > 0 {
			text = cut(text, left, false)
		}
		b.WriteString(s.styled(c.style, text))
		if i == len(cells)-1 {
			break
		}
		pad := widths[i] - utf8.RuneCountInString(text) + len(gap)
		b.WriteString(strings.Repeat(" ", pad))
		left = max(0, left-widths[i]-len(gap))
	}
	_, _ = io.WriteString(s.w, strings.TrimRight(b.String(), " ")+"\n")
}
