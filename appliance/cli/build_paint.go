package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

func (v *buildView) stay(style, text, how string) {
	v.ended = append(v.ended, v.line(style, text, how))
}

// line is a line of what a step is and how it is, which is seen also if the whole
// does not fit.
func (v *buildView) line(style, text, how string) string {
	if how != "" {
		text = cut(text, max(0, v.out.width-4-utf8.RuneCountInString(how)), false) + "  " + how
	}
	return v.out.styled(style, v.out.fit("  "+text))
}

// paint draws what runs over what was drawn last, with what has ended above it.
func (v *buildView) paint() {
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", v.drawn)
	}
	for _, line := range v.ended {
		b.WriteString(line + "\n")
	}
	v.ended, v.drawn = nil, 0
	if v.out.width > 0 {
		for _, line := range v.drawing() {
			b.WriteString(line + "\n")
			v.drawn++
		}
	}
	if b.Len() == 0 {
		return
	}
	if _, err := v.out.w.Write([]byte(b.String())); err != nil && v.err == nil {
		v.err = err
	}
}

func (v *buildView) drawing() (lines []string) {
	add := func(style, text, how string) { lines = append(lines, v.line(style, text, how)) }
	shown := v.steps[:min(liveSteps, len(v.steps))]
	for _, l := range shown {
		how := took(v.now().Sub(l.begun))
		if l.Total > 0 {
			how = size(l.Current) + " of " + size(l.Total) + "  " + how
		}
		add(bold, l.Name, how)
		if l == v.last {
			for _, line := range l.lines[max(0, len(l.lines)-liveLines):] {
				add(dim, "  "+line, "")
			}
		}
	}
	if more := len(v.steps) - len(shown); more > 0 {
		add(dim, "and "+count(more, "step")+" more", "")
	}
	if p := v.push; p != nil {
		text := fmt.Sprintf("push %s %d/%d layers", bar(float64(p.Done)/float64(max(1, p.Layers))), p.Done, p.Layers)
		if p.Total > 0 {
			text += ", " + size(p.Bytes) + " of " + size(p.Total)
		}
		add(plain, text, took(v.now().Sub(v.begun)))
	}
	return lines
}
