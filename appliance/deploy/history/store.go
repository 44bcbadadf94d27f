package history

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

// maxEntries of a service are kept.
const maxEntries = 50

// Store holds the history of all services. It is safe for concurrent use.
type Store struct {
	docs Documents

	mu      sync.Mutex
	changed <-chan struct{} // since entries were read
	hashes  map[string]string
	entries map[string][]Entry // by service, oldest first; neither the map nor a slice in here ever changes
}

// Open reads the history. A document that can't be read is an error: going on without it would
// offer images for removal that a user may want to go back to.
func Open(docs Documents) (*Store, error) {
	s := &Store{docs: docs}
	if err := s.read(); err != nil {
		return nil, fmt.Errorf("open the deployment history: %w", err)
	}
	return s, nil
}

// read reads the documents that are others than before. The caller holds mu, or has the Store
// for itself.
func (s *Store) read() error {
	changed := s.docs.Changed() // before the documents are read
	hashes, err := s.docs.Hashes()
	if err != nil {
		return err
	}
	all := make(map[string][]Entry, len(hashes))
	for service, hash := range hashes {
		if naming.CheckService(service) != nil {
			continue
		}
		if entries, ok := s.entries[service]; ok && s.hashes[service] == hash {
			all[service] = entries
			continue
		}
		data, err := s.docs.Load(service)
		if err == nil {
			all[service], err = decode(service, data)
		}
		if err != nil {
			return err
		}
	}
	s.changed, s.hashes, s.entries = changed, hashes, all
	return nil
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
		return trim(append(entries, e), maxEntries), nil
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

// maxScaled of a service are kept, whatever their versions.
const maxScaled = 50

// Scaled records a change of the replicas of the newest version of a service; where nothing is written down of it,
// found is that version. It is on disk when Scaled returns.
func (s *Store) Scaled(service string, to Scaling, found Entry) error {
	return s.change(service, func(entries []Entry) ([]Entry, error) {
		if len(entries) == 0 {
			found.Version, found.Kind, found.Result, found.At = 1, KindFound, Done, to.At
			entries = append(entries, found)
		}
		last := &entries[len(entries)-1]
		last.Scaled = append(last.Scaled, to)
		left := maxScaled
		for i := range slices.Backward(entries) {
			e := &entries[i]
			e.Scaled = e.Scaled[max(0, len(e.Scaled)-left):]
			left -= len(e.Scaled)
		}
		return entries, nil
	})
}

// change writes down what fn makes of a service's entries. It is called again where somebody
// else changes them meanwhile.
func (s *Store) change(service string, fn func([]Entry) ([]Entry, error)) error {
	if err := naming.CheckService(service); err != nil { // it is the name of a document, too
		return err
	}
	var refused error
	err := s.docs.Update(service, "record a change of service "+service, func(data []byte) ([]byte, error) {
		entries, err := decode(service, data)
		if err == nil {
			entries, err = fn(entries)
		}
		if refused = err; err != nil || entries == nil {
			return nil, err
		}
		return encode(entries)
	})
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return fmt.Errorf("record the change of service %s: %w", service, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read()
}

// Forget drops the history of a service, unless there is a version after the one given.
func (s *Store) Forget(service string, newest int) error {
	return s.change(service, func(entries []Entry) ([]Entry, error) {
		if n := len(entries); n > 0 && entries[n-1].Version == newest {
			return nil, nil
		}
		return entries, nil
	})
}

// of returns the entries of a service, oldest first, to be read only.
func (s *Store) of(service string) []Entry { return s.all()[service] }

// all returns all entries, to be read only; where the documents cannot be read, as they were.
func (s *Store) all() map[string][]Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.changed:
		_ = s.read() // which is tried again
	default:
	}
	return s.entries
}

// trim drops the oldest entries where there are too many, but spares the two
// last good images: fifty attempts that failed do not bar the way back.
func trim(entries []Entry, most int) []Entry {
	for len(entries) > most {
		spared := map[int]bool{}
		for _, e := range kept(entries, 2) {
			spared[e.Version] = true
		}
		oldest := slices.IndexFunc(entries, func(e Entry) bool { return !spared[e.Version] })
		entries = slices.Delete(entries, max(0, oldest), max(0, oldest)+1)
	}
	return entries
}
