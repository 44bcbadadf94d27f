package tui

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Watch shows a view again and again: on a terminal in the place of the one before, cut to
// what fits; in a pipe below it, after an empty line.
type Watch struct{ canvas }

// Show shows the view that render draws on a screen.
func (w *Watch) Show(out Screen, render func(Screen)) error {
	var text bytes.Buffer
	view := out
	view.W = &text
	render(view)
	if out.Width == 0 {
		_, err := io.WriteString(out.W, text.String()+"\n")
		return err
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	if room := out.height - 1; out.height > 2 && len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1], out.Styled(Dim, out.Fit(fmt.Sprintf("… %d more lines", more))))
	}
	w.out = out
	w.draw(nil, lines)
	return w.err
}
