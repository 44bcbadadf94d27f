package cli

import (
	"fmt"
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
