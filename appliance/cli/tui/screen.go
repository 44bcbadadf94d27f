// Package tui draws on terminals: tables, progress, colours, and words for sizes and
// times. It is the only place that knows terminals; all of it works in a pipe too, where
// nothing is cut, coloured or painted over.
package tui

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"
)

// Screen says where output goes, and what it can show.
type Screen struct {
	W      io.Writer
	Width  int // columns of the terminal; 0: it is none
	height int // lines of the terminal; 0: unknown
	Colors int // 0, 16 or 256

	Now func() time.Time // for ages
}

// NewScreen returns the screen behind a writer, which may be none. now is for ages.
func NewScreen(w io.Writer, now func() time.Time, noColor bool) Screen {
	s := Screen{W: w, Now: now}
	file := terminal(w)
	if file == nil {
		return s
	}
	s.Width, s.Colors = 80, colors()
	if width, height, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
		s.Width, s.height = width, height
	} else if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		s.Width = n
	}
	if noColor || os.Getenv("NO_COLOR") != "" {
		s.Colors = 0
	}
	if t, ok := w.(*Terminal); ok {
		t.setPlain(s.Colors == 0)
	}
	return s
}

// IsTerminal reports whether a reader or writer is a terminal.
func IsTerminal(v any) bool { return terminal(v) != nil }

// terminal returns the terminal behind a reader or writer, nil where there is none.
func terminal(v any) *os.File {
	switch v := v.(type) {
	case *Terminal:
		return v.file
	case *os.File:
		if term.IsTerminal(int(v.Fd())) {
			return v
		}
	}
	return nil
}

// repaint writes text in place of the lines above the cursor.
func (s Screen) repaint(lines int, text string) error {
	if t, ok := s.W.(*Terminal); ok {
		return t.repaint(lines, text)
	}
	_, err := io.WriteString(s.W, up(lines)+text)
	return err
}

func colors() int {
	name := os.Getenv("TERM")
	switch {
	case name == "" || name == "dumb":
		return 0
	case strings.Contains(name, "256color"), os.Getenv("COLORTERM") != "":
		return 256
	}
	return 16
}

// Styles, as the parameters of the terminal's SGR sequence.
const (
	plain  = ""
	Bold   = "1"
	Dim    = "2"
	Red    = "31"
	Green  = "32"
	Yellow = "33"
)

func (s Screen) Styled(style, text string) string {
	if s.Colors == 0 || style == plain || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// cut shortens text to n columns. Where atStart, its beginning goes: the end of
// an image's name says more.
func cut(text string, n int, atStart bool) string {
	left := columns(text)
	switch {
	case left <= n:
		return text
	case n < 1:
		return ""
	case !atStart:
		return prefix(text, n-1) + "…"
	}
	for i, r := range text {
		if left < n {
			return "…" + text[i:]
		}
		left -= columnsOf(r)
	}
	return "…"
}

// Fit cuts a line that would wrap.
func (s Screen) Fit(line string) string {
	if s.Width == 0 {
		return line
	}
	return cut(visible(line), s.Width, false)
}

// Page collects what is rendered, so that one write, and one error, remain.
type Page struct {
	bytes.Buffer
	W io.Writer
}

func (p *Page) Flush() error {
	_, err := p.W.Write(p.Bytes())
	return err
}

// palette holds colours of the 256 that can be read on black and on white.
// Their number has no factor in common with the 7 of colorOf.
var palette = []int{
	32, 33, 35, 36, 38, 62, 63, 67, 71, 72, 98, 99, 104,
	130, 133, 134, 136, 139, 161, 162, 166, 168, 172, 173, 202, 204,
}

// ColorOf returns the style of a task, always the same for its name. Neighbouring
// slots of a service have different ones.
func (s Screen) ColorOf(task string) string {
	dot := strings.LastIndexByte(task, '.') + 1
	h := fnv.New32a()
	slot, err := strconv.Atoi(task[dot:])
	if err == nil {
		h.Write([]byte(task[:dot]))
	} else {
		h.Write([]byte(task))
	}
	n := int(h.Sum32()&0xffff) + 7*(slot&0xffff)
	if s.Colors >= 256 {
		return fmt.Sprintf("38;5;%d", palette[n%len(palette)])
	}
	return strconv.Itoa(31 + n%6)
}

// NewFixed returns a screen of a width and a number of colours; 0 columns are no terminal.
func NewFixed(w io.Writer, now func() time.Time, width, colors int) Screen {
	return Screen{W: w, Now: now, Width: width, Colors: colors}
}

// Until returns how far away a time is: in 19h, 2d ago, never.
func (s Screen) Until(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	if d := t.Sub(s.Now()); d >= 0 {
		return "in " + age(d)
	}
	return s.Since(t) + " ago"
}

func (s Screen) Since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return age(s.Now().Sub(t))
}
