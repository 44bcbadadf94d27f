package cli

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is where output goes, and what it can show.
type screen struct {
	w      io.Writer
	width  int // columns of the terminal; 0: it is none
	height int // lines of the terminal; 0: unknown
	colors int // 0, 16 or 256
}

func (a *app) stdout() screen { return newScreen(a.env.Stdout, a.noColor) }
func (a *app) stderr() screen { return newScreen(a.env.Stderr, a.noColor) }

func newScreen(w io.Writer, noColor bool) screen {
	if !isTerminal(w) {
		return screen{w: w}
	}
	s := screen{w: w, width: 80, colors: colors()}
	if width, height, err := term.GetSize(int(w.(*os.File).Fd())); err == nil && width > 0 {
		s.width, s.height = width, height
	} else if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		s.width = n
	}
	if noColor || os.Getenv("NO_COLOR") != "" {
		s.colors = 0
	}
	return s
}

// isTerminal says whether a reader or writer is a terminal.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
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
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s screen) styled(style, text string) string {
	if s.colors == 0 || style == plain || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// cut shortens text to n columns. Where atStart, its beginning goes: the end of
// an image's name says more.
func cut(text string, n int, atStart bool) string {
	have := utf8.RuneCountInString(text)
	if have <= n {
		return text
	}
	if n < 1 {
		return ""
	}
	r := []rune(text)
	if atStart {
		return "…" + string(r[have-n+1:])
	}
	return string(r[:n-1]) + "…"
}

// fit cuts a line that would wrap.
func (s screen) fit(line string) string {
	if s.width == 0 {
		return line
	}
	return cut(line, s.width, false)
}

// page collects what is rendered, so that one write, and one error, remain.
type page struct {
	bytes.Buffer
	w io.Writer
}

func (p *page) flush() error {
	_, err := p.w.Write(p.Bytes())
	return err
}
