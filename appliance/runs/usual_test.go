package runs

import (
	"fmt"
	"testing"
	"time"
)

// before is a run that was asked for n minutes in, took so many minutes, and scraped items; fewer than 0: it says none.
func before(n, minutes int, items int64, state string) Record {
	r := ended(fmt.Sprint("run-", n), n)
	r.State, r.Began, r.Ended = state, r.At, r.At.Add(time.Duration(minutes)*time.Minute)
	if items >= 0 {
		r.Items = &items
	}
	return r
}

func TestUsual(t *testing.T) {
	t.Parallel()
	this := ended("run-100", 100)
	many := []Record{before(1, 500, 5000, Done), before(2, 1, 1, Done), before(101, 900, 9000, Done)}
	for n := range 7 {
		many = append(many, before(10+n, 10+n, int64(100+n), Done))
	}
	for _, c := range []struct {
		name string
		list []Record
		want string
	}{
		{"none", nil, "none"},
		{"itself", []Record{this}, "none"},
		{"one that failed", []Record{before(1, 1, 1, Failed), before(2, 1, 1, TimedOut)}, "none"},
		{"one that was stopped", []Record{before(3, 1, 1, Stopped)}, "none"},
		{"a later one", []Record{before(101, 1, 1, Done)}, "none"},
		{"one", []Record{before(1, 5, 7, Done)}, "1: 5m0s 7"},
		{"two", []Record{before(1, 5, 7, Done), before(2, 6, 10, Done)}, "2: 5m30s 8"},
		{"the last seven", many, "7: 13m0s 103"},
		{
			"some without items", []Record{before(1, 5, -1, Done), before(2, 6, 9, Done), before(3, 7, -1, Done)},
			"3: 6m0s 9",
		},
		{"none with items", []Record{before(1, 5, -1, Done)}, "1: 5m0s -"},
	} {
		got := "none"
		if is := usual(this, c.list); is != nil {
			got = fmt.Sprintf("%d: %s ", is.Runs, is.Took)
			if is.Items == nil {
				got += "-"
			} else {
				got += fmt.Sprint(*is.Items)
			}
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// TestStore_Usual: a run is compared with those of its own service.
func TestStore_Usual(t *testing.T) {
	t.Parallel()
	s := NewStore(newDocuments(t))
	other := before(2, 90, 900, Done)
	other.Service = "robot"
	for _, r := range []Record{before(1, 5, 7, Done), other} {
		if err := s.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	is, err := s.Usual(ended("run-100", 100))
	if err != nil || is == nil || is.Runs != 1 || *is.Items != 7 {
		t.Errorf("got %+v, %v", is, err)
	}
}
