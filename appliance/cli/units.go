package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// age is a span as one number: 5s, 3m, 30h, 4d.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s" // the clocks of two machines
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// span is a flag's time of a second or more: 90s, 24h, 7d or 1d12h.
type span time.Duration

// maxSpan keeps any time from now within what a date can be.
const maxSpan = 100 * 365 * 24 * time.Hour

// Set implements pflag.Value.
func (s *span) Set(text string) error {
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
	*s = span(d + whole)
	return nil
}

var errSpan = errors.New("want a time such as 90s, 24h or 7d")

// String implements pflag.Value.
func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// Type implements pflag.Value.
func (s *span) Type() string { return "time" }

// until is how far away a time is: in 19h, 2d ago, never.
func (a *app) until(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	if d := t.Sub(a.env.Now()); d >= 0 {
		return "in " + age(d)
	}
	return a.since(t) + " ago"
}

func (a *app) since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return age(a.env.Now().Sub(t))
}

// took is how long something took, to a tenth of a second.
func took(d time.Duration) string {
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

func size(bytes int64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// shortVersion leaves the build out of an engine's version: 20.10.24+dfsg1.
func shortVersion(v string) string {
	v, _, _ = strings.Cut(v, "+")
	return orDash(v)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
