package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// age returns a span as one number: 5s, 3m, 30h, 4d.
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

// Roughly returns a span in two numbers at the most: 40s, 12m30s, 3h5m, 2d4h.
func Roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 2*day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// Took returns how long something took, to a tenth of a second.
func Took(d time.Duration) string {
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

// Size writes bytes with three digits: 45MB.
func Size(bytes int64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }

// ShortVersion leaves the build out of an engine's version: 20.10.24+dfsg1.
func ShortVersion(v string) string {
	v, _, _ = strings.Cut(v, "+")
	return OrDash(v)
}

// OrDash returns s, or - where it is empty.
func OrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
