package tui

import (
	"io"
	"strings"
)

// gap is between two columns of a table.
const gap = "  "

type Column struct {
	Head    string
	Min     int  // the width to which it may be cut; 0: never
	AtStart bool // cut its beginning
}

type Cell struct {
	Text  string
	style string
}

// Text returns a cell without style.
func Text(text string) Cell { return Cell{Text: text} }

func Styled(text, style string) Cell { return Cell{Text: text, style: style} }

// Table is rendered like docker's: a line of heads, then rows. It never wraps:
// on a terminal columns are cut that may be, the widest first; in a pipe all is
// there in full.
type Table struct {
	Columns []Column
	rows    []row
}

type row struct {
	cells []Cell
	note  string // stands below the row
	mark  Mark   // before the note
}

func (t *Table) Add(cells ...Cell) { t.rows = append(t.rows, row{cells: cells}) }

// Note adds a line below the last row, on what is wrong with it.
func (t *Table) Note(text string) { t.Marked(problem, text) }

// Marked adds a line below the last row, behind a mark.
func (t *Table) Marked(m Mark, text string) {
	last := &t.rows[len(t.rows)-1]
	last.note, last.mark = text, m
}

func (t *Table) Write(s Screen) {
	if s.Width > 0 {
		t.neutral()
	}
	widths := t.widths(s.Width)
	heads := make([]Cell, len(t.Columns))
	for i, c := range t.Columns {
		heads[i].Text = c.Head
	}
	t.writeRow(s, heads, widths)
	for _, r := range t.rows {
		t.writeRow(s, r.cells, widths)
		if r.note != "" {
			WriteMarked(s, r.mark, r.note)
		}
	}
}

// neutral makes of what others wrote what can be measured.
func (t *Table) neutral() {
	for _, r := range t.rows {
		for i := range r.cells {
			r.cells[i].Text = visible(r.cells[i].Text)
		}
	}
}

// widths returns the width of each column in a line of the length given, 0
// meaning without bound.
func (t *Table) widths(line int) []int {
	widths := make([]int, len(t.Columns))
	total := len(gap) * (len(widths) - 1)
	for i, c := range t.Columns {
		widths[i] = len(c.Head)
		for _, r := range t.rows {
			widths[i] = max(widths[i], columns(r.cells[i].Text))
		}
		total += widths[i]
	}
	for ; line > 0 && total > line; total-- {
		widest := -1
		for i, c := range t.Columns {
			if c.Min > 0 && widths[i] > c.Min && (widest < 0 || widths[i] > widths[widest]) {
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

func (t *Table) writeRow(s Screen, cells []Cell, widths []int) {
	var b strings.Builder
	left := s.Width
	for i, c := range cells {
		text := cut(c.Text, widths[i], t.Columns[i].AtStart)
		if s.Width > 0 {
			text = cut(text, left, false)
		}
		b.WriteString(s.Styled(c.style, text))
		if i == len(cells)-1 {
			break
		}
		pad := widths[i] - columns(text) + len(gap)
		b.WriteString(strings.Repeat(" ", pad))
		left = max(0, left-widths[i]-len(gap))
	}
	_, _ = io.WriteString(s.W, strings.TrimRight(b.String(), " ")+"\n")
}
