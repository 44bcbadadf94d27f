package token

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// keepEnded is for how long a token that expired or was revoked is still called
// so, not unknown.
const keepEnded = 30 * 24 * time.Hour

// Store holds the tokens of the cluster, in a document of its state. Its methods may be
// called at the same time.
type Store struct{ docs *state.Value[records] }

// records are the tokens in the document.
type records struct{ list []storedRecord }

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

// list returns the tokens as they are now, to be read only.
func (t *Store) list() []storedRecord { return t.docs.Get().list }

// edit changes the list and returns once that is on disk. Where it fails, the list is as it
// was. change is called again where somebody else has changed the document meanwhile.
func (t *Store) edit(change func([]storedRecord) []storedRecord) error {
	return t.docs.Update("change join tokens", func(r *records) (*records, error) {
		list := change(slices.Clone(r.list))
		now := time.Now()
		list = slices.DeleteFunc(list, func(s storedRecord) bool { return s.forgotten(now) })
		return &records{list}, nil
	})
}
