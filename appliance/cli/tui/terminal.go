package tui

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Terminal is a terminal that does not obey what it shows: a spider, a host name or a label
// of an image may hold sequences that forge lines, or write into the clipboard. Line feeds, tabs
// and colours pass; other control characters are shown, and what turns round text after it. It is
// safe for concurrent use.
type Terminal struct {
	file *os.File

	mu     sync.Mutex
	plain  bool   // without colours
	styled bool   // a style is on
	held   []byte // the beginning of a sequence whose end is not written yet
}

// Guard returns a writer that is to show what others wrote: a Terminal where w is a terminal,
// and else w itself.
func Guard(w io.Writer) io.Writer {
	if file, ok := w.(*os.File); ok && IsTerminal(file) {
		return &Terminal{file: file, plain: os.Getenv("NO_COLOR") != "" || colors() == 0}
	}
	return w
}

func (t *Terminal) setPlain(plain bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plain = plain
}

// Write implements io.Writer.
func (t *Terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.file.Write(t.neutral(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// repaint writes text in place of the lines above the cursor.
func (t *Terminal) repaint(lines int, text string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.file.WriteString(up(lines) + string(t.neutral([]byte(text))))
	return err
}

// up moves the cursor to the beginning of the line so many above it, and clears the rest of
// the screen.
func up(lines int) string {
	if lines == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\x1b[J", lines)
}

// style matches a sequence that sets colours at the beginning of a text, and styleBegins what
// may become one.
var (
	style       = regexp.MustCompile(`^\x1b\[[0-9;:]{0,60}m`)
	styleBegins = regexp.MustCompile(`^\x1b(\[[0-9;:]{0,60})?$`)
)

// neutral returns what may be written of p. The end of p may be held back until it is known
// what it begins.
func (t *Terminal) neutral(p []byte) []byte {
	p = append(t.held, p...)
	t.held = nil
	out := make([]byte, 0, len(p))
	for len(p) > 0 {
		if n := printable(p); n > 0 {
			out, p = append(out, p[:n]...), p[n:]
			continue
		}
		if code := style.Find(p); code != nil {
			if !t.plain {
				out, t.styled = append(out, code...), !isReset(code)
			}
			p = p[len(code):]
			continue
		}
		if bytes.HasPrefix(p, []byte("\r\n")) {
			p = p[1:] // how some programs end lines; a terminal does the same at both
		}
		if styleBegins.Match(p) || !utf8.FullRune(p) || string(p) == "\r" {
			t.held = bytes.Clone(p)
			break
		}
		r, n := utf8.DecodeRune(p)
		if r == '\n' && t.styled {
			out, t.styled = append(out, "\x1b[0m"...), false
		}
		out, p = appendRune(out, r), p[n:]
	}
	return out
}

// printable returns how many bytes p begins with that any terminal shows as they are.
func printable(p []byte) int {
	n := bytes.IndexFunc(p, func(r rune) bool { return r < ' ' || r > '~' })
	if n < 0 {
		return len(p)
	}
	return n
}

// isReset reports whether a sequence ends all styles.
func isReset(code []byte) bool { return len(bytes.Trim(code, "\x1b[0;:m")) == 0 }

// appendRune appends a rune as a terminal may see it.
func appendRune(out []byte, r rune) []byte {
	switch {
	case r == '\n' || r == '\t' || !obeyed(r):
		return utf8.AppendRune(out, r)
	case r < ' ':
		return append(out, '^', byte(r)+'@')
	}
	return fmt.Appendf(out, `\u%04x`, r) // as JSON has it, whose value stays the same
}

// obeyed reports whether a terminal may do something at a rune instead of showing it.
func obeyed(r rune) bool { return unicode.IsControl(r) || unicode.Is(turning, r) }

// turning are the runes that have text after them shown in another order, up to the end of the
// line. The marks that Arabic and Hebrew are written with only touch their neighbours.
var turning = &unicode.RangeTable{R16: []unicode.Range16{{0x202a, 0x202e, 1}, {0x2066, 0x2069, 1}}}

// styles matches sequences that set colours.
var styles = regexp.MustCompile(`\x1b\[[0-9;:]*m`)

// visible returns a text of others as one line of a terminal, so that its width can be told.
func visible(text string) string {
	if !strings.ContainsFunc(text, obeyed) && utf8.ValidString(text) {
		return text
	}
	var out []byte
	for _, r := range styles.ReplaceAllString(text, "") {
		if r == '\n' || r == '\t' {
			r = ' '
		}
		out = appendRune(out, r)
	}
	return string(out)
}
