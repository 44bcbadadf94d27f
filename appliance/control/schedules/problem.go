package schedules

import (
	"fmt"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/schedule"
)

// toldFor is how long the status tells of planned times for which no run began.
const toldFor = 24 * time.Hour

// Problem returns what says which schedule begins no runs, or began none when it should have; empty: none.
func Problem(store *schedule.Store) func() string {
	return func() string {
		list, err := store.List()
		if err != nil {
			return err.Error()
		}
		text, more := "", 0
		for _, e := range list {
			switch why := problem(e, time.Now()); {
			case why == "":
			case text == "":
				text = "schedule " + e.Name + " " + why
			default:
				more++
			}
		}
		if more > 0 {
			text += fmt.Sprintf("; and %d more", more)
		}
		if text != "" {
			text += "; `crawlbox schedule ls` lists them"
		}
		return text
	}
}

func problem(e schedule.Entry, now time.Time) string {
	_, err := e.Times()
	switch {
	case e.Paused != nil:
		return ""
	case err != nil:
		return "begins no runs: " + err.Error()
	case e.Position.Why != "":
		return "can't begin a run: " + e.Position.Why
	case e.Position.Through.After(now.Add(schedule.Late)):
		return "waits, as a manager's clock was ahead: `crawlbox schedule resume " + e.Name + "` begins anew"
	}
	for _, event := range slices.Backward(e.Position.Events) {
		if event.Kind != schedule.Skipped && now.Sub(event.At) < toldFor {
			return fmt.Sprintf("%s %d planned times up to %s: %s", event.Kind, event.Count,
				event.Last.Format(time.RFC3339), event.Why)
		}
	}
	return ""
}
