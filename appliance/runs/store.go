package runs

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Documents is where the records are kept. *state.Group is one. All methods may be called at the same time.
type Documents interface {
	// Hashes returns the documents that there are; a hash changes with its content.
	Hashes() (map[string]string, error)
	// Load returns a document. The error is fs.ErrNotExist where there is none.
	Load(name string) ([]byte, error)
	// Update replaces a document, nil where there is none, by what fn makes of it; nil drops it. fn is called again
	// where somebody else changes it meanwhile.
	Update(name, message string, fn func(data []byte) ([]byte, error)) error
	// Changed returns a channel that is closed when there may be other documents.
	Changed() <-chan struct{}
}

const (
	// Kept is how many runs of a group are kept at the least, the newest.
	Kept = 1000
	// maxDocument is how long a document gets, in bytes, unless one record is longer: one more record is one more
	// document of that size that managers bring to each other.
	maxDocument = 32 << 10
	// maxDocuments bounds them all. Each commit of the cluster's state names them.
	maxDocuments = 2000
)

// Store holds the records of runs that have ended. Those of a group are in documents GROUP/NUMBER, each of which is
// written until it is long, and goes as a whole. Its methods may be called at the same time.
type Store struct {
	docs Documents

	mu      sync.Mutex
	changed <-chan struct{} // since heads were read
	hashes  map[string]string
	heads   map[string][]Record // by document, the oldest first; never changed once they are here
	of      map[string]string   // document, by the ID of a run; as heads
	waiting []*addition

	adding sync.Mutex // held by who writes for all that wait
}

// addition is a record that is to be kept.
type addition struct {
	r    Record
	done bool
	err  error
}

// NewStore returns the records in docs.
func NewStore(docs Documents) *Store { return &Store{docs: docs} }

// all returns the heads by document, to be read only.
func (s *Store) all() (map[string][]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.changed:
	default:
		if s.changed != nil {
			return s.heads, nil
		}
	}
	changed := s.docs.Changed() // before the documents are read
	hashes, err := s.docs.Hashes()
	if err != nil {
		return nil, err
	}
	heads := make(map[string][]Record, len(hashes))
	for name, hash := range hashes {
		if list, ok := s.heads[name]; ok && s.hashes[name] == hash {
			heads[name] = list
			continue
		}
		list, err := s.load(name)
		if errors.Is(err, fs.ErrNotExist) { // it has gone meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		for i := range list {
			list[i] = list[i].Head()
		}
		heads[name] = list
	}
	of := make(map[string]string, len(s.of))
	for name, list := range heads {
		for i := range list {
			of[list[i].ID] = name
		}
	}
	s.changed, s.hashes, s.heads, s.of = changed, hashes, heads, of
	return heads, nil
}

func (s *Store) load(name string) ([]Record, error) {
	data, err := s.docs.Load(name)
	if err != nil {
		return nil, err
	}
	return decode(name, data)
}

func decode(name string, data []byte) (list []Record, err error) {
	if data == nil {
		return nil, nil
	}
	if err = json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("the records of runs %s are damaged (%w): restore the data directory from a backup",
			name, err)
	}
	return list, nil
}

// List returns the heads of all records, the newest first.
func (s *Store) List() ([]Record, error) {
	all, err := s.all()
	if err != nil {
		return nil, err
	}
	list := slices.Concat(slices.Collect(maps.Values(all))...)
	SortNewest(list)
	return list, nil
}

// SortNewest sorts runs by when they were asked for, the newest first.
func SortNewest(list []Record) {
	sort.Slice(list, func(i, j int) bool { // records are large: a sort made for them is, too
		a, b := &list[i], &list[j]
		return a.At.After(b.At) || a.At.Equal(b.At) && a.ID < b.ID
	})
}

// Find returns the whole record of a run, and reports whether there is one.
func (s *Store) Find(id string) (Record, bool, error) {
	name, err := s.documentOf(id)
	if name == "" || err != nil {
		return Record{}, false, err
	}
	list, err := s.load(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, false, nil
	}
	i := index(list, id)
	if i < 0 || err != nil {
		return Record{}, false, err
	}
	return list[i], true, nil
}

// Usual returns what the last runs of a run's group did before it; nil: there are none that are done.
func (s *Store) Usual(r Record) (*Usual, error) {
	all, err := s.all()
	if err != nil {
		return nil, err
	}
	var lists [][]Record
	for name, list := range all {
		if group, _ := numberOf(name); group == r.Group() {
			lists = append(lists, list)
		}
	}
	return usual(r, lists...), nil
}

// Has reports whether there is a record of a run.
func (s *Store) Has(id string) (bool, error) {
	name, err := s.documentOf(id)
	return name != "", err
}

func (s *Store) documentOf(id string) (string, error) {
	if _, err := s.all(); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[id], nil
}

func index(list []Record, id string) int {
	return slices.IndexFunc(list, func(r Record) bool { return r.ID == id })
}

// Add keeps the record of a run that has ended, unless there is one, which another manager has written. It is in the
// cluster's state when Add returns. Records that are added while others are written go together: many runs may end at
// once, and each change of the state is one more for all managers.
func (s *Store) Add(r Record) error {
	a := &addition{r: fitted(r)}
	s.mu.Lock()
	s.waiting = append(s.waiting, a)
	s.mu.Unlock()
	s.adding.Lock()
	defer s.adding.Unlock()
	if a.done { // with those of who was before
		return a.err
	}
	s.mu.Lock()
	all := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	byGroup := map[string][]*addition{}
	for _, a := range all {
		byGroup[a.r.Group()] = append(byGroup[a.r.Group()], a)
	}
	for group, list := range byGroup {
		if err := s.add(group, list); err != nil {
			for _, a := range list {
				a.err = fmt.Errorf("record run %s: %w", a.r.ID, err)
			}
		}
	}
	for _, a := range all {
		a.done = true
	}
	if a.err == nil {
		a.err = s.trim()
	}
	return a.err
}

// add writes the records of a group.
func (s *Store) add(group string, list []*addition) error {
	all, err := s.all()
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(a *addition) bool {
		has, hasErr := s.Has(a.r.ID)
		err = cmp.Or(err, hasErr)
		return has
	})
	if err != nil || len(list) == 0 {
		return err
	}
	for number := max(1, last(all, group)); ; number++ {
		var left []*addition
		about := "record run " + list[0].r.ID
		if len(list) > 1 {
			about = fmt.Sprintf("record run %s and %d more", list[0].r.ID, len(list)-1)
		}
		err := s.docs.Update(document(group, number), about, func(data []byte) (longer []byte, err error) {
			longer, left, err = longerBy(group, data, list)
			return longer, err
		})
		if err != nil || len(left) == 0 {
			return err
		}
		list = left
	}
}

// longerBy returns a document with as many more records as it has room for, and those that are left.
func longerBy(group string, data []byte, list []*addition) (longer []byte, left []*addition, err error) {
	have, err := decode(group, data)
	if err != nil {
		return nil, nil, err
	}
	longer = data
	for i, a := range list {
		if index(have, a.r.ID) >= 0 {
			continue
		}
		next, err := json.Marshal(append(have, a.r))
		if err != nil {
			return nil, nil, err
		}
		if len(next) > maxDocument && len(have) > 0 {
			return longer, list[i:], nil
		}
		have, longer = append(have, a.r), next
	}
	return longer, nil, nil
}

// fitted returns a record as a document has room for it: with fewer lines of its log, then with fewer tasks. What it
// was asked to be stays, so that it can be run again.
func fitted(r Record) Record {
	r.Usual = nil
	for r.Log != nil || len(r.Tasks) > 0 {
		data, err := json.Marshal([]Record{r})
		switch {
		case err != nil || len(data) <= maxDocument:
			return r
		case r.Log != nil:
			r.Log = r.Log.shortened()
		default:
			r.Tasks = r.Tasks[:len(r.Tasks)/2]
		}
	}
	return r
}

func document(group string, number int) string { return fmt.Sprintf("%s/%06d", group, number) }

// numberOf takes the name of a document apart.
func numberOf(name string) (group string, number int) {
	group, text, _ := strings.Cut(name, "/")
	number, _ = strconv.Atoi(text)
	return group, number
}

// last returns the number of a group's last document; 0: it has none.
func last(all map[string][]Record, group string) (number int) {
	for name := range all {
		if of, n := numberOf(name); of == group {
			number = max(number, n)
		}
	}
	return number
}

// trim drops documents that are not to be kept any longer.
func (s *Store) trim() error {
	all, err := s.all()
	if err != nil {
		return err
	}
	for _, name := range outdated(all) {
		err := s.docs.Update(name, "drop old runs "+name, func([]byte) ([]byte, error) { return nil, nil })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drop old runs: %w", err)
		}
	}
	return nil
}

// outdated returns the documents that go: the oldest of groups that have enough without, and the oldest of all where
// there are too many.
func outdated(all map[string][]Record) (names []string) {
	kept := map[string]int{}
	var rest []string
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(all))) { // the newest of a group first
		group, _ := numberOf(name)
		if kept[group] >= Kept {
			names = append(names, name)
			continue
		}
		kept[group] += len(all[name])
		rest = append(rest, name)
	}
	newest := func(name string) (at time.Time) {
		for _, r := range all[name] {
			if r.At.After(at) {
				at = r.At
			}
		}
		return at
	}
	if len(rest) > maxDocuments {
		slices.SortFunc(rest, func(a, b string) int { return newest(b).Compare(newest(a)) })
	}
	return append(names, rest[min(len(rest), maxDocuments):]...)
}

// Remove drops the record of a run, and reports whether there was one.
func (s *Store) Remove(id string) (bool, error) {
	name, err := s.documentOf(id)
	if name == "" || err != nil {
		return false, err
	}
	err = s.docs.Update(name, "remove run "+id, func(data []byte) ([]byte, error) {
		list, err := decode(name, data)
		i := index(list, id)
		if i < 0 || err != nil {
			return data, err
		}
		if list = slices.Delete(list, i, i+1); len(list) == 0 {
			return nil, nil
		}
		return json.Marshal(list)
	})
	return true, err
}

// EndedSince returns the heads of the runs that have ended since a time, in no order.
func (s *Store) EndedSince(at time.Time) (list []Record, err error) {
	all, err := s.all()
	for _, records := range all {
		for i := range records {
			if records[i].Ended.After(at) {
				list = append(list, records[i])
			}
		}
	}
	return list, err
}
