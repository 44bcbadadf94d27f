package alerts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// Document is where the state is kept. *state.Document is one.
type Document interface {
	Load() ([]byte, error)
	Update(message string, fn func(data []byte) ([]byte, error)) error
}

// Store keeps the state of a cluster. Its methods may be called at the same time.
type Store struct{ doc Document }

// NewStore returns the state in a document.
func NewStore(doc Document) *Store { return &Store{doc} }

// Load returns the state as this manager has it.
func (s *Store) Load() (State, error) {
	data, err := s.doc.Load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return State{}, err
	}
	return decode(data)
}

func decode(data []byte) (is State, err error) {
	if data == nil {
		return is, nil
	}
	if err := json.Unmarshal(data, &is); err != nil {
		return is, fmt.Errorf("the alerts are damaged (%w): restore the data directory from a backup", err)
	}
	return is, nil
}

// Update replaces the state by what fn makes of it, where that is another. fn is called again where somebody else
// changes it meanwhile.
func (s *Store) Update(message string, fn func(State) (State, error)) error {
	return s.doc.Update(message, func(data []byte) ([]byte, error) {
		was, err := decode(data)
		if err != nil {
			return nil, err
		}
		is, err := fn(was)
		switch {
		case err != nil:
			return nil, err
		case was.Equal(is):
			return data, nil
		case is.Equal(State{}):
			return nil, nil
		}
		return json.Marshal(is)
	})
}

// Equal reports whether two states say the same.
func (s State) Equal(other State) bool {
	a, _ := json.Marshal(s) // it has texts, numbers and times alone
	b, _ := json.Marshal(other)
	return bytes.Equal(a, b)
}

// Silence returns the state with a silence in it, in place of one of the same.
func (s State) Silence(x Silence, now time.Time) (State, error) {
	s.Silences = slices.DeleteFunc(slices.Clone(s.Silences), func(old Silence) bool {
		return old.Of == x.Of || !now.Before(old.Until)
	})
	if len(s.Silences) >= maxSilences {
		return s, fmt.Errorf("there are %d silences already; end some with `crawlbox alerts unsilence`", maxSilences)
	}
	x.Of, x.Reason = short(x.Of, maxSubject), short(x.Reason, maxText)
	s.Silences = append(s.Silences, x)
	return s, nil
}

// Unsilence returns the state without a silence, and reports whether there was one.
func (s State) Unsilence(of string) (State, bool) {
	n := len(s.Silences)
	s.Silences = slices.DeleteFunc(slices.Clone(s.Silences), func(x Silence) bool { return x.Of == of })
	return s, len(s.Silences) < n
}
