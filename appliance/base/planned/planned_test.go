package planned

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestTimes_Clocks goes over changes of the clocks in both directions.
func TestTimes_Clocks(t *testing.T) {
	t.Parallel()
	const paris, newYork, lordHowe, samoa = "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"
	for _, c := range []struct {
		name, cron, zone, from string
		want                   string // in UTC, as day hour:minute
	}{
		{"no change", "0 3 * * *", paris, "2026-06-01T00:00:00Z", "1 01:00, 2 01:00"},
		{"forward, a time left out", "30 2 * * *", paris, "2026-03-28T00:00:00Z", "28 01:30, 29 01:00, 30 00:30"},
		{"forward, beside one that is not", "0,30 2,3 * * *", paris, "2026-03-29T00:00:00Z",
			"29 01:00, 29 01:30, 30 00:00"},
		{"forward, many left out", "*/10 2 * * *", paris, "2026-03-28T01:45:00Z", "28 01:50, 29 01:00, 30 00:00"},
		{"forward, the hour behind", "0 3 * * *", paris, "2026-03-28T03:00:00Z", "29 01:00, 30 01:00"},
		{"forward, each hour", "30 * * * *", paris, "2026-03-29T00:00:00Z", "29 00:30, 29 01:30, 29 02:30"},
		{"back, a time repeated", "30 2 * * *", paris, "2026-10-24T12:00:00Z", "25 00:30, 26 01:30"},
		{"back, asked between", "30 2 * * *", paris, "2026-10-25T00:45:00Z", "26 01:30"},
		{"back, asked in the second", "30 2 * * *", paris, "2026-10-25T01:15:00Z", "26 01:30"},
		{"back, asked after a first", "15,45 2 * * *", paris, "2026-10-25T00:20:00Z", "25 00:45, 26 01:15"},
		{"back, the hour behind", "0 3 * * *", paris, "2026-10-24T12:00:00Z", "25 02:00, 26 02:00"},
		{"back, the hours around", "50 1-3 * * *", paris, "2026-10-24T12:00:00Z", "24 23:50, 25 00:50, 25 02:50"},
		{"back, each half hour", "*/30 * * * *", paris, "2026-10-25T00:15:00Z", "25 00:30, 25 01:00, 25 01:30"},
		{"back, @hourly", "@hourly", paris, "2026-10-25T00:15:00Z", "25 01:00, 25 02:00"},
		{"back, @daily", "@daily", paris, "2026-10-24T12:00:00Z", "24 22:00, 25 23:00"},
		{"forward in New York", "30 2 * * *", newYork, "2026-03-07T12:00:00Z", "8 07:00, 9 06:30"},
		{"back in New York", "30 1 * * *", newYork, "2026-10-31T12:00:00Z", "1 05:30, 2 06:30"},
		{"half an hour forward", "15 2 * * *", lordHowe, "2026-10-02T20:00:00Z", "3 15:30, 4 15:15"},
		{"half an hour back", "45 1 * * *", lordHowe, "2026-04-03T20:00:00Z", "4 14:45, 5 15:15"},
		{"a day left out", "0 12 * * *", samoa, "2011-12-29T10:00:00Z", "29 22:00, 30 10:00, 30 22:00"},
		{"@every", "@every 45m", paris, "2026-10-25T00:00:00Z", "25 00:45, 25 01:30"},
		{"@every, of an odd span", "@every 7h", "", "1970-01-01T00:00:00Z", "1 07:00, 1 14:00, 1 21:00, 2 04:00"},
	} {
		times, err := Parse(c.cron, c.zone)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		at, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for range strings.Count(c.want, ",") + 1 {
			next := times.Next(at)
			if !next.After(at) {
				t.Errorf("%s: %s comes after %s", c.name, next, at)
			}
			got, at = append(got, fmt.Sprint(next.Day(), next.Format(" 15:04"))), next
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// TestTimes_SameFromAnywhere asks for the next time from each quarter of an hour of the days around changes: what is
// planned is the same, whoever asks when.
func TestTimes_SameFromAnywhere(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{"15,45 2 * * *", "30 * * * *", "0 0 * * *", "*/20 1-3 * * *", "@every 35m"} {
		for _, from := range []time.Time{
			time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC), time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC),
		} {
			times, err := Parse(expression, "Europe/Paris")
			if err != nil {
				t.Fatal(err)
			}
			planned := []time.Time{times.Next(from)}
			for last := planned[0]; last.Before(from.Add(72 * time.Hour)); planned = append(planned, last) {
				last = times.Next(last)
			}
			i := 0
			for at := from; at.Before(from.Add(72 * time.Hour)); at = at.Add(5 * time.Minute) {
				for !planned[i].After(at) {
					i++
				}
				if got := times.Next(at); !got.Equal(planned[i]) {
					t.Fatalf("%s: from %s the next is %s, not %s", expression, at, got, planned[i])
				}
			}
		}
	}
}

func FuzzTimes(f *testing.F) {
	for _, text := range []string{"0 3 * * *", "@every 15m", "@daily", "TZ=", "CRON_TZ=UTC * * * * *", "*/0 * * * *"} {
		f.Add(text)
	}
	from := time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		times, err := Parse(text, "Europe/Paris")
		if err != nil {
			return
		}
		if next := times.Next(from); !next.IsZero() && !next.After(from) {
			t.Errorf("%q: %s", text, next)
		}
	})
}
