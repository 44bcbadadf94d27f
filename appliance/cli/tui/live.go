package tui

import (
	"strings"
	"sync"
)

// Live paints a line on a terminal again and again: a bar that shows how much is done, from 0 to 1,
// and a text. In a pipe it shows nothing. The function that it returns ends that, and takes the line
// away.
func Live(out Screen, now func() (part float64, text string)) (end func()) {
	if out.Width == 0 {
		return func() {}
	}
	c := canvas{out: out}
	stop := repeat(repaint, new(sync.Mutex), func() {
		part, text := now()
		words := append([]string{bar(min(1, max(0, part)))}, spans(visible(text), out.Width-len(indent))...)
		c.draw(nil, []string{out.Fit(strings.Join(words, " "))})
	})
	return func() {
		stop()
		c.draw(nil, nil)
	}
}
