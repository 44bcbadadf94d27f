package command

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Span is a flag's time of a second or more: 90s, 24h, 7d or 1d12h.
type Span time.Duration

// maxSpan keeps any time from now within what a date can be.
const maxSpan = 100 * 365 * 24 * time.Hour

// Set implements pflag.Value.
func (s *Span) Set(text string) error {
	rest := text
	var days uint64
	if n, after, ok := strings.Cut(text, "d"); ok {
		var err error
		if days, err = strconv.ParseUint(n, 10, 16); err != nil {
			return errSpan
		}
		rest = after
	}
	var d time.Duration
	if rest != "" || text == "" {
		var err error
		if d, err = time.ParseDuration(rest); err != nil || d < 0 {
			return errSpan
		}
	}
	whole := time.Duration(days) * 24 * time.Hour
	if d > maxSpan || d+whole < time.Second || d+whole > maxSpan {
		return errors.New("it must be from 1s to 100 years")
	}
	*s = Span(d + whole)
	return nil
}

var errSpan = errors.New("want a time such as 90s, 24h or 7d")

// String implements pflag.Value.
func (s *Span) String() string {
	if *s == 0 {
		return ""
	}
	text := time.Duration(*s).String()
	for _, zero := range []string{"m0s", "h0m"} { // 2h0m0s is 2h
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// Type implements pflag.Value.
func (s *Span) Type() string { return "time" }
