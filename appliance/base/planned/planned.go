// Package planned reads the expressions of schedules and says which times they plan. It is one rule for the command
// line, the config file and what begins runs: what one takes another does not refuse.
package planned

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// MinEvery is how close planned times of @every may be.
const MinEvery = 10 * time.Second

// Times returns the planned times of a schedule.
//
//   - Every so often: the multiples of that since 1970 in UTC, so that whoever asks gets the same.
//   - A cron expression that means each hour follows the time that passes: in an hour that a change of the clocks
//     repeats it is planned twice, and in one that is left out not at all.
//   - One that names hours means what a clock on the wall shows, once: of two equal times the first, and times that are
//     left out once, at the moment of the change.
type Times struct {
	every time.Duration // or
	at    *cron.SpecSchedule
	zone  *time.Location
}

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Parse reads an expression, and a time zone from the files of this machine; empty: UTC.
func Parse(expression, inZone string) (t Times, err error) {
	text := strings.TrimSpace(expression)
	if t.zone, err = zone(inZone); err != nil {
		return t, err
	}
	if span, ok := strings.CutPrefix(text, "@every "); ok {
		t.every, err = time.ParseDuration(strings.TrimSpace(span))
		if err != nil || t.every < MinEvery || t.every%time.Second != 0 {
			return t, fmt.Errorf("cron is %.64q; after @every it wants whole seconds, %s or more, such as 15m or 6h",
				text, MinEvery)
		}
		return t, nil
	}
	if len(text) > 256 || strings.ContainsAny(text, "=\n") { // a zone is said apart
		return t, fmt.Errorf("cron is %.64q; it wants five fields, such as 0 3 * * *, and the time zone in tz", text)
	}
	parsed, err := parser.Parse(text)
	if err != nil {
		return t, fmt.Errorf("cron is %.64q: %w; it wants minute, hour, day, month and weekday, such as 0 3 * * *, "+
			"or @daily, or @every 15m", text, err)
	}
	t.at, _ = parsed.(*cron.SpecSchedule)
	if t.at == nil || t.at.Next(time.Unix(0, 0).UTC()).IsZero() {
		return t, fmt.Errorf("cron is %.64q, which is never", text)
	}
	return t, nil
}

const zoneFiles = "/usr/share/zoneinfo"

func zone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	l, err := time.LoadLocation(name)
	switch {
	case name == "Local" || strings.HasPrefix(name, "."):
		return nil, fmt.Errorf("tz is %q; name a zone, such as Europe/Paris", name)
	case err == nil:
		return l, nil
	}
	if _, missing := os.Stat(zoneFiles); missing != nil {
		return nil, fmt.Errorf("tz is %.64q, and this machine has no time zones: install the package tzdata on each "+
			"manager", name)
	}
	return nil, fmt.Errorf("tz is %.64q, which %s does not have; name a zone, such as Europe/Paris", name, zoneFiles)
}

// Zone returns the time zone.
func (t Times) Zone() *time.Location { return t.zone }

// allHours are the bits of an expression that means each hour.
const allHours = 1<<24 - 1

// shift is more than clocks are ever put back or forward at once.
const shift = 25 * time.Hour

// Next returns the first planned time after a moment; zero: there is none within five years.
func (t Times) Next(after time.Time) time.Time {
	if t.every > 0 {
		n := int64(t.every / time.Second)
		sec := after.Unix()
		return time.Unix(sec-((sec%n)+n)%n+n, 0).UTC()
	}
	after = after.In(t.zone)
	if t.at.Hour&allHours == allHours {
		return utc(t.at.Next(after))
	}
	wall := onWall(after)
	if start, _ := after.ZoneBounds(); !start.IsZero() && after.Sub(start) < shift {
		wall = wall.Add(-shift) // it may have shown later times before
	}
	for {
		if wall = t.at.Next(wall); wall.IsZero() {
			return wall
		}
		if is := t.moment(wall); is.After(after) {
			return is.UTC()
		}
	}
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// onWall returns what a clock on the wall shows, as if it were in UTC.
func onWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// moment returns when a clock on the wall shows a time, or a later one, first.
func (t Times) moment(wall time.Time) time.Time {
	before := wall.Add(-offset(wall.Add(-shift), t.zone)).In(t.zone)
	if onWall(before).Equal(wall) {
		return before
	}
	if later := wall.Add(-offset(wall.Add(shift), t.zone)).In(t.zone); onWall(later).Equal(wall) {
		return later
	}
	change, _ := before.ZoneBounds()
	return change
}

func offset(at time.Time, in *time.Location) time.Duration {
	_, seconds := at.In(in).Zone()
	return time.Duration(seconds) * time.Second
}
