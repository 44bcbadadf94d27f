package schedule

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/configs"
)

const (
	// maxSchedules bounds the schedules of a cluster.
	maxSchedules = 200
	// maxDocument bounds them together, in bytes: each time that one is due managers bring them to each other.
	maxDocument = 512 << 10
)

// Entry is a schedule, and how far it has come.
type Entry struct {
	Schedule
	Config   bool     `json:"config,omitempty"` // it is of the config file
	Paused   *Pause   `json:"paused,omitempty"`
	Position Position `json:"position"`
}

// Pause is why no run begins.
type Pause struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// Coming is a planned time that is still to come, by the clocks of the schedule's zone.
type Coming struct {
	Planned time.Time `json:"planned"`
	Begin   time.Time `json:"begin"` // by the jitter
}

// Coming returns the next planned times, as far as nobody pauses or changes the schedule.
func (e Entry) Coming(now time.Time, most int) (list []Coming, err error) {
	times, err := e.Times()
	if err != nil || e.Paused != nil {
		return nil, err
	}
	at := latest(e.Position.Through, now.Add(-e.Jitter))
	for len(list) < most {
		if at = times.Next(at); at.IsZero() {
			break
		}
		if begin := e.Due(at); begin.After(now) {
			list = append(list, Coming{at.In(times.Zone()), begin.In(times.Zone())})
		}
	}
	return list, nil
}

// Document is where schedules are kept. *state.Document is one.
type Document interface {
	Load() ([]byte, error)
	Update(message string, fn func(data []byte) ([]byte, error)) error
}

// Store holds the schedules of a cluster, in one document: what was due at once is noted at once. Its methods may be
// called at the same time.
type Store struct {
	doc Document

	mu   sync.Mutex
	seen []byte
	list []Entry // of seen
}

// NewStore returns the schedules in a document.
func NewStore(doc Document) *Store { return &Store{doc: doc} }

// List returns all schedules by name, to be read only.
func (s *Store) List() ([]Entry, error) {
	data, err := s.doc.Load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list != nil && bytes.Equal(data, s.seen) {
		return s.list, nil
	}
	list, err := decode(data)
	if err != nil {
		return nil, err
	}
	s.seen, s.list = data, list
	return list, nil
}

func decode(data []byte) (list []Entry, err error) {
	if data == nil {
		return []Entry{}, nil
	}
	if err = json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("the schedules are damaged (%w): restore the data directory from a backup", err)
	}
	return list, nil
}

// Update replaces all schedules by what fn makes of them. fn is called again where somebody else changes one meanwhile.
func (s *Store) Update(message string, fn func(list []Entry) ([]Entry, error)) error {
	return s.doc.Update(message, func(data []byte) ([]byte, error) {
		list, err := decode(data)
		if err == nil {
			list, err = fn(list)
		}
		if err != nil {
			return nil, err
		}
		slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
		next, err := json.Marshal(list)
		switch {
		case err != nil:
			return nil, err
		case len(list) > maxSchedules:
			return nil, fmt.Errorf("there would be %d schedules, more than %d", len(list), maxSchedules)
		case len(next) > maxDocument && len(next) > len(data):
			return nil, fmt.Errorf("the schedules would have %d bytes together, more than %d; put long arguments into "+
				"a file or the queue", len(next), maxDocument)
		case data == nil && len(list) == 0:
			return nil, nil
		}
		return next, nil
	})
}

// Find returns the index of a schedule; -1: there is none.
func Find(list []Entry, name string) int {
	return slices.IndexFunc(list, func(e Entry) bool { return e.Name == name })
}

// With returns the list with a schedule in it, in place of one of its name. What is planned at other times than before
// begins anew; what is not goes on where it is.
func With(list []Entry, s Schedule, config bool, now time.Time) []Entry {
	e := Entry{Schedule: s, Config: config, Position: Position{Through: now.UTC()}}
	i := Find(list, s.Name)
	if i < 0 {
		return append(list, e)
	}
	was := list[i]
	if was.Cron == s.Cron && was.Zone == s.Zone {
		e.Position = was.Position
	}
	e.Paused = was.Paused
	list = slices.Clone(list)
	list[i] = e
	return list
}

// WithConfig returns the list as the config file has it: what that defines, and what it does not and never did.
func WithConfig(list []Entry, defined []Schedule, now time.Time) []Entry {
	next := slices.DeleteFunc(slices.Clone(list), func(e Entry) bool {
		return e.Config && !slices.ContainsFunc(defined, func(s Schedule) bool { return s.Name == e.Name })
	})
	for _, s := range defined {
		if i := Find(next, s.Name); i < 0 || !next[i].Config || !same(next[i].Schedule, s) {
			next = With(next, s, true, now)
		}
	}
	return next
}

// Differs reports whether the list is not as the config file has it.
func Differs(list []Entry, defined []Schedule) bool {
	of := 0
	for _, e := range list {
		if e.Config {
			of++
		}
	}
	return of != len(defined) || slices.ContainsFunc(defined, func(s Schedule) bool {
		i := Find(list, s.Name)
		return i < 0 || !list[i].Config || !same(list[i].Schedule, s)
	})
}

// byConfig is named as who asked for the schedules of the config file.
const byConfig = "crawlbox.yaml"

// FromConfig returns the schedules of the config file.
func FromConfig(defined []configs.Schedule) (list []Schedule) {
	for _, s := range defined {
		list = append(list, Schedule{
			Name:     s.Name,
			Service:  s.Service,
			Cron:     s.Cron,
			Zone:     s.Zone,
			Jitter:   s.Jitter,
			Overlap:  s.Overlap,
			Missed:   s.Missed,
			AtMost:   s.AtMost,
			Args:     s.Args,
			Command:  s.Command,
			Replicas: s.Replicas,
			Retries:  s.Retries,
			Timeout:  s.Timeout,
			By:       byConfig,
		})
	}
	return list
}

// same reports whether two schedules say the same.
func same(a, b Schedule) bool { return plain(a) == plain(b) }

// plain is a schedule as JSON has it, which knows no empty map.
func plain(s Schedule) string {
	text, _ := json.Marshal(s) // it has texts and numbers alone
	return string(text)
}

// Outcome is how far a schedule has come from where it was.
type Outcome struct {
	Of    Entry // as it was
	After Position
}

// Note keeps outcomes, but for those of schedules that were changed meanwhile, or of which somebody else has noted one.
func (s *Store) Note(outcomes []Outcome) error {
	return s.Update("note what schedules have begun", func(list []Entry) ([]Entry, error) {
		list = slices.Clone(list)
		for _, o := range outcomes {
			i := Find(list, o.Of.Name)
			if i >= 0 && same(list[i].Schedule, o.Of.Schedule) && list[i].Position.Equal(o.Of.Position) {
				list[i].Position = o.After
			}
		}
		return list, nil
	})
}

// Equal reports whether two positions say the same.
func (p Position) Equal(q Position) bool {
	a, _ := json.Marshal(p)
	b, _ := json.Marshal(q)
	return bytes.Equal(a, b)
}
