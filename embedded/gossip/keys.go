package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

// KeySize is the length of a key in bytes; it makes the cipher AES-256.
const KeySize = 32

// SetKeys changes the keys: the first encrypts, all decrypt. Nothing is lost on
// the way if the others already decrypt with the first; so a key is replaced on
// all nodes in turn by old, new; then new, old; then new. Keys that are set
// already do no harm. An error means that nothing was changed.
func (g *Gossip) SetKeys(keys [][]byte) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	g.keysMu.Lock()
	defer g.keysMu.Unlock()
	return setKeys(g.ring, keys)
}

func newRing(keys [][]byte) (*memberlist.Keyring, error) {
	if err := checkKeys(keys); err != nil {
		return nil, err
	}
	ring, err := memberlist.NewKeyring(nil, bytes.Clone(keys[0]))
	if err != nil {
		return nil, err
	}
	return ring, setKeys(ring, keys)
}

func checkKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("gossip has no key")
	}
	for i, key := range keys {
		if len(key) != KeySize {
			return fmt.Errorf("gossip key %d has %d bytes, want %d", i+1, len(key), KeySize)
		}
	}
	return nil
}

// setKeys makes a ring hold just these keys. A key is removed only while it is
// the last: for any other, memberlist moves those behind it within an array that
// it reads elsewhere without a lock.
func setKeys(ring *memberlist.Keyring, keys [][]byte) error {
	if err := use(ring, keys[0]); err != nil {
		return err
	}
	if err := trim(ring, keys); err != nil {
		return err
	}
	for _, key := range keys {
		if err := ring.AddKey(bytes.Clone(key)); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(ring.GetKeys(), unless(keys)) {
		return nil
	}
	// A stale key stands before one that stays. Using those puts them in front.
	for _, key := range slices.Backward(keys) {
		if err := use(ring, key); err != nil {
			return err
		}
	}
	return trim(ring, keys)
}

func use(ring *memberlist.Keyring, key []byte) error {
	if err := ring.AddKey(bytes.Clone(key)); err != nil {
		return err
	}
	return ring.UseKey(key)
}

// trim removes keys that are not wanted from the end of a ring.
func trim(ring *memberlist.Keyring, wanted [][]byte) error {
	for {
		have := ring.GetKeys()
		last := have[len(have)-1]
		if !unless(wanted)(last) {
			return nil
		}
		if err := ring.RemoveKey(last); err != nil {
			return err
		}
	}
}

// unless says of a key that it is not among the wanted.
func unless(wanted [][]byte) func([]byte) bool {
	return func(key []byte) bool {
		return !slices.ContainsFunc(wanted, func(w []byte) bool { return bytes.Equal(w, key) })
	}
}
