package schedule

import (
	"strings"
	"testing"
	"time"
)

func TestSchedule_Check(t *testing.T) {
	t.Parallel()
	good := Schedule{Name: "nightly", Service: "spider", Cron: "0 3 * * *", Zone: "Europe/Paris", Replicas: 1}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Schedule){
		"cannot name a schedule": func(s *Schedule) { s.Name = strings.Repeat("n", maxName+1) },
		"cannot name a service":  func(s *Schedule) { s.Service = "" },
		"five fields":            func(s *Schedule) { s.Cron = "TZ=" },
		"it wants minute, hour":  func(s *Schedule) { s.Cron = "0 3 * *" },
		"is never":               func(s *Schedule) { s.Cron = "0 0 31 2 *" },
		"after @every it wants":  func(s *Schedule) { s.Cron = "@every 1s" },
		"whole seconds":          func(s *Schedule) { s.Cron = "@every 10.5s" },
		"name a zone":            func(s *Schedule) { s.Zone = "Local" },
		"does not have":          func(s *Schedule) { s.Zone = "Europe/Atlantis" },
		"it is skip, wait":       func(s *Schedule) { s.Overlap = "queue" },
		"it is run-once or skip": func(s *Schedule) { s.Missed = "all" },
		"it is at most":          func(s *Schedule) { s.Jitter = 25 * time.Hour },
		"from 1 to 100":          func(s *Schedule) { s.AtMost = 101 },
		"replicas is 0":          func(s *Schedule) { s.Replicas = 0 },
	} {
		s := good
		change(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
