package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"time"
)

// Redeem lets a node in by a token: it returns nil if the secret is that of the
// token, and the token is good for the role now. A use of a limited token is on
// disk by then. A node is known by its ID: one that redeems a token again, because
// it was cut off before it had its certificate, does not use up another use.
//
// Else the error is the first that holds of ErrUnknownToken, ErrBadSecret,
// ErrRevoked, ErrExpiredToken, ErrWrongRole and ErrUsedUp, of which the last four
// are only for a caller that knows the secret; or another where the disk fails.
func (t *Store) Redeem(id string, secret Secret, role, node string) error {
	uses, err := t.use(id, secret, role, node)
	if err != nil || uses == 0 {
		return err
	}
	if err := t.flush(uses); err != nil {
		return fmt.Errorf("count use of token %s: %w", id, err)
	}
	// Somebody else may have revoked the token or used it up before this use was on disk.
	t.lock()
	defer t.mu.Unlock()
	s, err := t.find(id, secret, role)
	if err == nil && !slices.Contains(s.Nodes, node) {
		err = ErrUsedUp
	}
	return err
}

// use counts a use, and returns how many have to be on disk before the node gets its
// certificate; 0 where nothing has to.
func (t *Store) use(id string, secret Secret, role, node string) (uses int, err error) {
	t.lock()
	defer t.mu.Unlock()
	s, err := t.find(id, secret, role)
	switch {
	case err != nil || s.Uses == 0:
		return 0, err
	case slices.Contains(s.Nodes, node):
		return t.uses, nil // its use may still be on its way to the disk
	case s.usedUp():
		return 0, ErrUsedUp
	}
	t.pending = append(t.pending, use{id, node})
	t.list = t.now.with(t.pending)
	t.uses++
	return t.uses, nil
}

// find returns the token if it is good, though maybe used up. An unknown one
// takes as long as a wrong secret does.
func (t *Store) find(id string, secret Secret, role string) (*storedRecord, error) {
	s := &storedRecord{Hash: make([]byte, sha256.Size)}
	i := slices.IndexFunc(t.list, isToken(id))
	if i >= 0 {
		s = &t.list[i]
	}
	hash := sha256.Sum256(secret[:])
	same := subtle.ConstantTimeCompare(hash[:], s.Hash) == 1
	switch {
	case i < 0:
		return nil, ErrUnknownToken
	case !same:
		return nil, ErrBadSecret
	case !s.Revoked.IsZero():
		return nil, ErrRevoked
	case s.Expired(time.Now()):
		return nil, ErrExpiredToken
	case s.Role != role:
		return nil, ErrWrongRole
	}
	return s, nil
}

// Verify reports whether the token is good, but uses nothing up: for what is done
// between the secret and the use. It fails as Redeem does, but for ErrUsedUp.
func (t *Store) Verify(id string, secret Secret, role string) error {
	t.lock()
	defer t.mu.Unlock()
	_, err := t.find(id, secret, role)
	return err
}

// Usable reports whether a token would let one more node in. Its errors are those of
// Redeem.
func (t *Store) Usable(id string, secret Secret, role string) error {
	t.lock()
	defer t.mu.Unlock()
	s, err := t.find(id, secret, role)
	if err == nil && s.usedUp() {
		err = ErrUsedUp
	}
	return err
}
