package tasklog

import (
	"strings"
	"time"
	"unicode/utf8"
)

// MaxLine is the length in bytes at which a line is cut.
const MaxLine = 256 << 10

// Line is what a task wrote up to a line feed.
type Line struct {
	Time   time.Time
	Stream string // Stdout or Stderr
	Text   string
	Cut    bool // it is longer than MaxLine, and goes on in the next line of its stream
}

// joiner makes lines of the pieces of one task's log.
type joiner map[string]*openLine // by stream

// openLine is a line whose end has not come.
type openLine struct {
	begun time.Time
	text  []byte
}

// add takes a piece in.
func (j joiner) add(p piece, emit func(Line) error) error {
	l := j[p.stream]
	if l == nil {
		l = &openLine{begun: p.time}
		j[p.stream] = l
	}
	l.text = append(l.text, p.text...)
	for len(l.text) > MaxLine {
		n := beforeRune(l.text, MaxLine)
		line := Line{
			Time:   l.begun,
			Stream: p.stream,
			Text:   string(l.text[:n]),
			Cut:    true,
		}
		l.begun, l.text = p.time, append(l.text[:0], l.text[n:]...)
		if err := emit(line); err != nil {
			return err
		}
	}
	if !p.ends {
		return nil
	}
	return j.end(p.stream, emit)
}

// end ends the line of a stream.
func (j joiner) end(stream string, emit func(Line) error) error {
	l := j[stream]
	if l == nil {
		return nil
	}
	delete(j, stream)
	return emit(Line{
		Time:   l.begun,
		Stream: stream,
		Text:   strings.TrimSuffix(string(l.text), "\r"),
	})
}

// flush ends the lines of which no more will come.
func (j joiner) flush(emit func(Line) error) error {
	for _, stream := range []string{Stdout, Stderr} {
		if err := j.end(stream, emit); err != nil {
			return err
		}
	}
	return nil
}

// beforeRune returns where to cut text so that no character is cut: at n or a little before.
func beforeRune(text []byte, n int) int {
	for at := n; at > n-utf8.UTFMax; at-- {
		if utf8.RuneStart(text[at]) {
			return at
		}
	}
	return n
}
