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
	if s, err := find(t.list(), id, secret, role); err != nil || s.Uses == 0 {
		return err
	}
	var refused error
	err := t.docs.Update("use a join token", func(r *records) (*records, error) {
		list := slices.Clone(r.list)
		var s *storedRecord
		s, refused = find(list, id, secret, role)
		switch {
		case refused != nil:
			return nil, refused
		case slices.Contains(s.Nodes, node):
			return r, nil
		case s.usedUp():
			refused = ErrUsedUp
			return nil, refused
		}
		s.Nodes = append(slices.Clone(s.Nodes), node)
		s.Used++
		return &records{list}, nil
	})
	if err != nil && refused == nil {
		return fmt.Errorf("count use of token %s: %w", id, err)
	}
	return err
}

// find returns the token if it is good, though maybe used up. An unknown one
// takes as long as a wrong secret does.
func find(list []storedRecord, id string, secret Secret, role string) (*storedRecord, error) {
	s := &storedRecord{Hash: make([]byte, sha256.Size)}
	i := slices.IndexFunc(list, isToken(id))
	if i >= 0 {
		s = &list[i]
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
	_, err := find(t.list(), id, secret, role)
	return err
}

// Usable reports whether a token would let one more node in. Its errors are those of
// Redeem.
func (t *Store) Usable(id string, secret Secret, role string) error {
	s, err := find(t.list(), id, secret, role)
	if err == nil && s.usedUp() {
		err = ErrUsedUp
	}
	return err
}
