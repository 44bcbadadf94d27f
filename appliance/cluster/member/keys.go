package member

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

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
	doc *state.Document

	mu     sync.Mutex
	stored storedKeys
}

type storedKeys struct {
	Keys [][]byte `json:"keys"`
	Next []byte   `json:"next,omitempty"` // the key that is to be the only one
}

// OpenKeys reads the keys in the cluster's state, which gets one at random at first.
func OpenKeys(store state.Store) (*Keys, error) {
	k := &Keys{doc: state.NewDocument(store, state.GossipKeys)}
	data, err := k.doc.LoadOrCreate(func() ([]byte, error) {
		return json.Marshal(storedKeys{Keys: [][]byte{pki.NewKey()}})
	})
	if err != nil {
		return nil, fmt.Errorf("open keys of gossip: %w", err)
	}
	err = json.Unmarshal(data, &k.stored)
	if err == nil && !k.All().Good() {
		err = errors.New("it does not hold one key or two")
	}
	if err != nil {
		return nil, fmt.Errorf("open keys of gossip: %w", k.doc.Damaged(err))
	}
	return k, nil
}

// All returns the keys, the one that encrypts first.
func (k *Keys) All() pki.Keyring {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make(pki.Keyring, len(k.stored.Keys))
	for i, key := range k.stored.Keys {
		list[i] = pki.Key(key)
	}
	return list
}

// Changing reports whether a change was begun and not brought to its end.
func (k *Keys) Changing() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stored.Next != nil
}

// Step takes the next step of a change, or the first of a new one.
func (k *Keys) Step() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := k.stored.after()
	data, err := json.Marshal(next)
	if err == nil {
		err = k.doc.Save(data, "change the keys of gossip")
	}
	if err != nil {
		return fmt.Errorf("save keys of gossip: %w", err)
	}
	k.stored = next
	return nil
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
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stored.used()
}

func (s storedKeys) used() bool { return s.Next != nil && bytes.Equal(s.Keys[0], s.Next) }
