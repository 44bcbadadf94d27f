package token

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// keepEnded is for how long a token that expired or was revoked is still called
// so, not unknown.
const keepEnded = 30 * 24 * time.Hour

// Store holds the tokens of the cluster in a file. Its methods may be
// called at the same time, but only one process may have the file open.
type Store struct {
	doc *state.Document

	// disk is held to write the file. It is taken before mu.
	disk  sync.Mutex
	saved int // the change up to which list is on disk

	mu      sync.Mutex
	list    []storedRecord
	changes int // of list, counted
}

// storedRecord is a token on disk. The secret itself is kept only of a standing
// token, which is printed again at every start of the manager; of the others
// there is just the hash.
type storedRecord struct {
	Record
	Hash   []byte   `json:"hash"` // SHA-256 of the secret
	Secret []byte   `json:"secret,omitempty"`
	Nodes  []string `json:"nodes,omitempty"` // IDs that used it, where uses are limited
}

func (s storedRecord) issued() Issued {
	return Issued{Record: s.Record, Secret: Secret(s.Secret)}
}

// check says what a stored token lacks.
func (s storedRecord) check() error {
	standing := s.Standing && s.Revoked.IsZero()
	revoked := !s.Revoked.IsZero()
	switch {
	case len(s.Hash) != sha256.Size, standing && len(s.Secret) != len(Secret{}):
		return fmt.Errorf("token %q is incomplete", s.ID)
	case s.Uses < 0, !revoked && s.Used != len(s.Nodes):
		return fmt.Errorf("the uses of token %q are miscounted", s.ID)
	}
	return nil
}

// forgotten reports whether the token ended so long ago that it may be unknown.
func (s storedRecord) forgotten(now time.Time) bool {
	ended := s.Expires
	if !s.Revoked.IsZero() {
		ended = s.Revoked
	}
	return !ended.IsZero() && now.Sub(ended) > keepEnded
}

// Open reads the tokens in the cluster's state, or starts without any where there are none.
func Open(store state.Store) (*Store, error) {
	t := &Store{doc: state.NewDocument(store, state.Tokens)}
	data, err := t.doc.LoadOrCreate(func() ([]byte, error) { return []byte("[]\n"), nil })
	if err != nil {
		return nil, fmt.Errorf("open join tokens: %w", err)
	}
	err = json.Unmarshal(data, &t.list)
	for _, s := range t.list {
		err = errors.Join(err, s.check())
	}
	if err != nil {
		return nil, fmt.Errorf("open join tokens: %w", t.doc.Damaged(err))
	}
	return t, nil
}

// edit changes the list and returns once that is on disk. Where it fails, the
// list is as it was.
func (t *Store) edit(change func([]storedRecord) []storedRecord) error {
	t.disk.Lock()
	defer t.disk.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	list := change(slices.Clone(t.list))
	now := time.Now()
	list = slices.DeleteFunc(list, func(s storedRecord) bool { return s.forgotten(now) })
	if err := t.write(list); err != nil {
		return err
	}
	t.list = list
	t.changes++
	t.saved = t.changes
	return nil
}

// flush returns once the list is on disk with all its changes up to the given
// one. Of those who come while the file is written, one writes for all: a disk
// that takes its time does not make fifty nodes wait fifty times.
func (t *Store) flush(change int) error {
	t.disk.Lock()
	defer t.disk.Unlock()
	if t.saved >= change {
		return nil
	}
	t.mu.Lock()
	list, changes := slices.Clone(t.list), t.changes
	t.mu.Unlock()
	if err := t.write(list); err != nil {
		return err
	}
	t.saved = changes
	return nil
}

func (t *Store) write(list []storedRecord) error {
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return t.doc.Save(append(data, '\n'), "change join tokens")
}
