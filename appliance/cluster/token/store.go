package token

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// keepEnded is for how long a token that expired or was revoked is still called
// so, not unknown.
const keepEnded = 30 * 24 * time.Hour

// Store holds the tokens of the cluster, in a document of its state. Its methods may be
// called at the same time.
type Store struct {
	docs *state.Value[records]

	// disk is held to write the document. It is taken before mu.
	disk  sync.Mutex
	saved int // how many uses are on disk

	mu      sync.Mutex
	now     *records       // that list is of
	list    []storedRecord // with the pending uses
	pending []use          // that are not on disk
	uses    int            // counted, with the pending ones
}

// records are the tokens in the document.
type records struct{ list []storedRecord }

// use is one of a token with a limit by a node.
type use struct{ token, node string }

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
	none := func() ([]byte, error) { return []byte("[]\n"), nil }
	_, err := state.NewDocument(store, state.Tokens).LoadOrCreate(none)
	if err != nil {
		return nil, fmt.Errorf("open join tokens: %w", err)
	}
	docs, err := state.NewValue(store, state.Format[records]{
		Names:  []string{state.Tokens},
		Decode: decode,
		Encode: encode,
	})
	if err != nil {
		return nil, fmt.Errorf("open join tokens: %w", err)
	}
	return &Store{docs: docs}, nil
}

func decode(docs state.Contents) (*records, error) {
	r, err := parse(docs[state.Tokens])
	if err != nil {
		return nil, state.Damaged(state.Tokens, err)
	}
	return r, nil
}

func parse(data []byte) (*records, error) {
	r := &records{}
	err := json.Unmarshal(data, &r.list)
	for _, s := range r.list {
		err = cmp.Or(err, s.check())
	}
	return r, err
}

// Check returns why a document is none of tokens.
func Check(data []byte) error {
	_, err := parse(data)
	return err
}

func encode(r *records) (state.Contents, error) {
	data, err := json.MarshalIndent(r.list, "", "  ")
	return state.Contents{state.Tokens: append(data, '\n')}, err
}

// lock is for who reads the list, and finds it as the cluster's state has it.
func (t *Store) lock() {
	t.mu.Lock()
	t.follow()
}

// follow takes over what the document says, also by others. The caller holds mu.
func (t *Store) follow() {
	if r := t.docs.Get(); r != t.now {
		t.now, t.list = r, r.with(t.pending)
	}
}

// with returns the tokens after uses, but for those that they no longer admit.
func (r *records) with(uses []use) []storedRecord {
	list := slices.Clone(r.list)
	for _, u := range uses {
		i := slices.IndexFunc(list, isToken(u.token))
		if i < 0 || !list[i].Revoked.IsZero() || list[i].usedUp() || slices.Contains(list[i].Nodes, u.node) {
			continue
		}
		list[i].Nodes = append(slices.Clone(list[i].Nodes), u.node)
		list[i].Used++
	}
	return list
}

// edit changes the list and returns once that is on disk. Where it fails, the list is as it
// was. change is called again where somebody else has changed the document meanwhile.
func (t *Store) edit(change func([]storedRecord) []storedRecord) error {
	t.disk.Lock()
	defer t.disk.Unlock()
	return t.write(change)
}

// flush returns once the uses up to the given one are on disk. Of the callers that come while the
// document is written, one writes for all: a disk that takes its time does not make fifty
// nodes wait fifty times.
func (t *Store) flush(uses int) error {
	t.disk.Lock()
	defer t.disk.Unlock()
	if t.saved >= uses {
		return nil
	}
	return t.write(func(list []storedRecord) []storedRecord { return list })
}

// write changes the document, with the uses that are pending. The caller holds disk.
func (t *Store) write(change func([]storedRecord) []storedRecord) error {
	t.mu.Lock()
	pending, uses := slices.Clone(t.pending), t.uses
	t.mu.Unlock()
	err := t.docs.Update("change join tokens", func(r *records) (*records, error) {
		list := change(r.with(pending))
		now := time.Now()
		list = slices.DeleteFunc(list, func(s storedRecord) bool { return s.forgotten(now) })
		return &records{list}, nil
	})
	if err != nil {
		return err
	}
	t.saved = uses
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending = slices.Delete(t.pending, 0, len(pending))
	t.follow()
	return nil
}
