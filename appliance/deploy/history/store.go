package history

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

// maxEntries of a service are kept.
const maxEntries = 50

// Store holds the history of all services. It is safe for concurrent use; a
// reader does not wait for the disk. No other Store may write to its directory.
type Store struct {
	dir string

	writing sync.Mutex // one change at a time, held while the disk is waited for

	mu      sync.RWMutex
	entries map[string][]Entry // by service, oldest first; a slice in here never changes
}

// Open reads the history in a directory, which it makes where there is none. A
// file that can't be read is an error: going on without it would offer images
// for removal that a user may want to go back to.
func Open(dir string) (*Store, error) {
	if err := prepare(dir); err != nil {
		return nil, fmt.Errorf("open the deployment history: %w", err)
	}
	entries, err := loadAll(dir)
	if err != nil {
		return nil, err
	}
	return &Store{dir: dir, entries: entries}, nil
}

// Begin records a change that is about to be made and gives it the next version
// of its service. It is on disk when Begin returns. Result is Running and At is
// now where the entry says nothing else.
func (s *Store) Begin(service string, e Entry) (version int, err error) {
	if e.Result == "" {
		e.Result = Running
	}
	if e.At.IsZero() {
		e.At = time.Now().UTC()
	}
	e.Spec = slices.Clone(e.Spec)
	err = s.change(service, func(entries []Entry) ([]Entry, error) {
		e.Version = 1
		if n := len(entries); n > 0 {
			e.Version = entries[n-1].Version + 1
		}
		return trim(append(entries, e)), nil
	})
	return e.Version, err
}

// Update changes what is recorded of a version, but for its number. It is on
// disk when Update returns; after an error the record is as it was. The
// function must not call Begin or Update.
func (s *Store) Update(service string, version int, fn func(*Entry)) error {
	return s.change(service, func(entries []Entry) ([]Entry, error) {
		i := slices.IndexFunc(entries, func(e Entry) bool { return e.Version == version })
		if i < 0 {
			return nil, fmt.Errorf("service %s has no version %d in its history", service, version)
		}
		fn(&entries[i])
		entries[i].Version = version
		return entries, nil
	})
}

// change writes down what fn makes of a copy of a service's entries.
func (s *Store) change(service string, fn func([]Entry) ([]Entry, error)) error {
	if err := naming.CheckService(service); err != nil { // it is the name of a file, too
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	entries, err := fn(slices.Clone(s.of(service)))
	if err != nil {
		return err
	}
	if err := save(s.dir, service, entries); err != nil {
		return fmt.Errorf("record the change of service %s: %w", service, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[service] = entries
	return nil
}

// of returns the entries of a service, oldest first, to be read only.
func (s *Store) of(service string) []Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[service]
}

func (s *Store) all() map[string][]Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.entries)
}

// trim drops the oldest entries where there are too many, but spares the two
// last good images: fifty attempts that failed do not bar the way back.
func trim(entries []Entry) []Entry {
	for len(entries) > maxEntries {
		spared := map[int]bool{}
		for _, e := range kept(entries, 2) {
			spared[e.Version] = true
		}
		oldest := slices.IndexFunc(entries, func(e Entry) bool { return !spared[e.Version] })
		entries = slices.Delete(entries, max(0, oldest), max(0, oldest)+1)
	}
	return entries
}
