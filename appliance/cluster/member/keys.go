package member

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// Keys holds the keys of gossip, kept in the cluster's state. The first encrypts, all decrypt.
//
// A key is changed in steps, each on disk before the nodes hear of it, and the
// next one taken only when they have: so two nodes that talk to each other
// always have a key in common.
//
//	old ──▶ old, new ──▶ new, old ──▶ new
type Keys struct {
	stored *state.Value[storedKeys]
}

type storedKeys struct {
	Keys [][]byte `json:"keys"`
	Next []byte   `json:"next,omitempty"` // the key that is to be the only one
}

// OpenKeys reads the keys in the cluster's state, which gets one at random at first.
func OpenKeys(store state.Store) (*Keys, error) {
	_, err := state.NewDocument(store, state.GossipKeys).LoadOrCreate(func() ([]byte, error) {
		return json.Marshal(storedKeys{Keys: [][]byte{pki.NewKey()}})
	})
	if err != nil {
		return nil, fmt.Errorf("open keys of gossip: %w", err)
	}
	stored, err := state.NewValue(store, state.Format[storedKeys]{
		Names:  []string{state.GossipKeys},
		Decode: decodeKeys,
		Encode: func(s *storedKeys) (state.Contents, error) {
			data, err := json.Marshal(s)
			return state.Contents{state.GossipKeys: data}, err
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open keys of gossip: %w", err)
	}
	return &Keys{stored}, nil
}

func decodeKeys(docs state.Contents) (*storedKeys, error) {
	s, err := parseKeys(docs[state.GossipKeys])
	if err != nil {
		return nil, state.Damaged(state.GossipKeys, err)
	}
	return s, nil
}

func parseKeys(data []byte) (*storedKeys, error) {
	s := &storedKeys{}
	err := json.Unmarshal(data, s)
	if err == nil && !s.keyring().Good() {
		err = errors.New("it does not hold one key or two")
	}
	return s, err
}

// All returns the keys, the one that encrypts first.
func (k *Keys) All() pki.Keyring {
	return k.stored.Get().keyring()
}

func (s storedKeys) keyring() pki.Keyring {
	list := make(pki.Keyring, len(s.Keys))
	for i, key := range s.Keys {
		list[i] = pki.Key(key)
	}
	return list
}

// Changing reports whether a change was begun and has not ended.
func (k *Keys) Changing() bool {
	return k.stored.Get().Next != nil
}

// Step takes the next step of a change, or the first of a new one. Where somebody else takes
// it at the same time it is taken once: the nodes have to hear of it before the next.
func (k *Keys) Step() error {
	from := k.stored.Get()
	err := k.stored.Update("change the keys of gossip", func(s *storedKeys) (*storedKeys, error) {
		if !s.is(*from) {
			return s, nil
		}
		next := s.after()
		return &next, nil
	})
	if err != nil {
		return fmt.Errorf("save keys of gossip: %w", err)
	}
	return nil
}

func (s storedKeys) is(o storedKeys) bool {
	return bytes.Equal(s.Next, o.Next) && slices.EqualFunc(s.Keys, o.Keys, bytes.Equal)
}

func (s storedKeys) after() storedKeys {
	switch {
	case s.Next == nil:
		key := pki.NewKey()
		return storedKeys{Keys: [][]byte{s.Keys[0], key}, Next: key}
	case !s.used():
		return storedKeys{Keys: [][]byte{s.Next, s.Keys[0]}, Next: s.Next}
	}
	return storedKeys{Keys: [][]byte{s.Next}}
}

// Switched reports whether a change has come so far that the new key encrypts.
func (k *Keys) Switched() bool {
	return k.stored.Get().used()
}

func (s storedKeys) used() bool { return s.Next != nil && bytes.Equal(s.Keys[0], s.Next) }
