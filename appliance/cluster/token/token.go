// Package token keeps the rights to join a cluster, and turns each into the one line that
// is pasted on the node which is to join: the join token.
//
// The line names the managers' addresses and the hash of the cluster's CA, so that a node
// knows the right manager before it sends the secret. The secret itself is kept only of a
// standing token, which is printed again at every start of the manager; of the others
// there is just the hash.
package token

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
)

const (
	tokenIDSize = 5 // bytes
	// maxUses bounds the nodes that are kept with a token. Larger fleets get a
	// token that expires.
	maxUses = 1000
)

// Record is a right to join, without its secret.
type Record struct {
	ID       string    `json:"id"`
	Role     string    `json:"role"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"` // zero for never
	Standing bool      `json:"standing,omitempty"`
	Uses     int       `json:"uses,omitempty"` // nodes it lets in; 0 for no limit
	Used     int       `json:"used,omitempty"` // nodes it has let in; counted where there is a limit
	Revoked  time.Time `json:"revoked,omitzero"`
}

// States of a token, as State returns them.
const (
	StateGood    = "good"
	StateExpired = "expired"
	StateUsedUp  = "used up"
	StateRevoked = "revoked"
)

// State reports whether a node may still join with the token, and if not why.
func (t Record) State(now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return StateRevoked
	case t.Expired(now):
		return StateExpired
	case t.usedUp():
		return StateUsedUp
	}
	return StateGood
}

// Expired reports whether the token's time is over.
func (t Record) Expired(now time.Time) bool { return !t.Expires.IsZero() && now.After(t.Expires) }

func (t Record) usedUp() bool { return t.Uses > 0 && t.Used >= t.Uses }

type Issued struct {
	Record
	Secret Secret
}

// ErrRequest is why a token is not issued that can't be.
var ErrRequest = errors.New("issue token")

// Issue makes a token for a role that is good for ttl, and for as many nodes as
// uses says, at most 1000; 0 is for ever and for any number. Another error than ErrRequest
// says that the tokens could not be written.
func (t *Store) Issue(role string, ttl time.Duration, uses int) (Issued, error) {
	if ttl < 0 || ttl != 0 && ttl < time.Second {
		return Issued{}, fmt.Errorf("%w: it would expire at once: give a time of a second or more", ErrRequest)
	}
	if uses < 0 || uses > maxUses {
		return Issued{}, fmt.Errorf("%w: %d uses: give 1 to %d, or 0 for any number", ErrRequest, uses, maxUses)
	}
	c, err := newIssued(role)
	if err != nil {
		return Issued{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	c.Uses = uses
	if ttl > 0 {
		c.Expires = c.Created.Add(ttl).Truncate(time.Second)
	}
	err = t.edit(func(list []storedRecord) []storedRecord { return append(list, c.stored()) })
	if err != nil {
		return Issued{}, fmt.Errorf("issue token: %w", err)
	}
	return c, nil
}

// Standing returns the token of a role that never expires, lets in any number of
// nodes and stays the same over restarts. It is made at the first call, and at
// the first one after it was revoked.
func (t *Store) Standing(role string) (Issued, error) {
	if c, ok := t.standing(role); ok {
		return c, nil
	}
	made, err := newIssued(role)
	if err != nil {
		return Issued{}, fmt.Errorf("issue token: %w", err)
	}
	made.Standing = true
	c := made
	err = t.edit(func(list []storedRecord) []storedRecord {
		if i := slices.IndexFunc(list, isStanding(role)); i >= 0 { // made in the meantime
			c = list[i].issued()
			return list
		}
		c = made
		return append(list, c.stored())
	})
	if err != nil {
		return Issued{}, fmt.Errorf("issue token: %w", err)
	}
	return c, nil
}

func (t *Store) standing(role string) (Issued, bool) {
	list := t.list()
	i := slices.IndexFunc(list, isStanding(role))
	if i < 0 {
		return Issued{}, false
	}
	return list[i].issued(), true
}

func isStanding(role string) func(storedRecord) bool {
	return func(s storedRecord) bool { return s.Standing && s.Revoked.IsZero() && s.Role == role }
}

// Revoke ends a token: from when it returns no node joins with it. For 30 days
// clients that try are told that it was revoked. Revoked twice, the first time
// counts. The error is ErrUnknownToken where there is no such token.
func (t *Store) Revoke(id string) error {
	known := false
	err := t.edit(func(list []storedRecord) []storedRecord {
		known = slices.ContainsFunc(list, isToken(id))
		return revoke(list, isToken(id))
	})
	if err == nil && !known {
		err = ErrUnknownToken
	}
	if err != nil {
		return fmt.Errorf("revoke token %q: %w", id, err)
	}
	return nil
}

func isToken(id string) func(storedRecord) bool {
	return func(s storedRecord) bool { return s.ID == id }
}

// Rotate revokes the standing token of a role. The next call of Standing makes
// another.
func (t *Store) Rotate(role string) error {
	if err := pki.CheckRole(role); err != nil {
		return fmt.Errorf("rotate token: %w", err)
	}
	err := t.edit(func(list []storedRecord) []storedRecord { return revoke(list, isStanding(role)) })
	if err != nil {
		return fmt.Errorf("rotate token: %w", err)
	}
	return nil
}

// revoke leaves a tombstone, which knows the secret's hash but not the secret.
func revoke(list []storedRecord, which func(storedRecord) bool) []storedRecord {
	for i, s := range list {
		if which(s) && s.Revoked.IsZero() {
			s.Revoked, s.Secret, s.Nodes = time.Now().UTC().Truncate(time.Second), nil, nil
			list[i] = s
		}
	}
	return list
}

// Info holds what people see of a token.
type Info struct {
	ID       string    `json:"id"`
	Role     string    `json:"role"`
	State    string    `json:"state"` // good, expired, used up or revoked
	Created  time.Time `json:"created,omitzero"`
	Expires  time.Time `json:"expires,omitzero"` // zero: never
	Uses     int       `json:"uses"`             // nodes it may join; 0: any number
	Used     int       `json:"used"`             // nodes it has joined
	Standing bool      `json:"standing"`         // the one that is printed at every start
}

// List returns all tokens as they are now.
func (t *Store) List() []Info {
	now := time.Now()
	stored := t.list()
	list := make([]Info, len(stored))
	for i, s := range stored {
		list[i] = Info{
			ID:       s.ID,
			Role:     s.Role,
			State:    s.State(now),
			Created:  s.Created,
			Expires:  s.Expires,
			Uses:     s.Uses,
			Used:     s.Used,
			Standing: s.Standing,
		}
	}
	return list
}

// Sort puts tokens in the order of their age, the oldest first, and below those that are good no
// longer.
func Sort(list []Info) {
	ended := func(t Info) int {
		if t.State == StateGood {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b Info) int {
		return cmp.Or(cmp.Compare(ended(a), ended(b)), a.Created.Compare(b.Created))
	})
}

func newIssued(role string) (Issued, error) {
	if err := pki.CheckRole(role); err != nil {
		return Issued{}, err
	}
	id := make([]byte, tokenIDSize)
	_, _ = rand.Read(id) // never fails
	return Issued{
		Record: Record{
			ID:      pki.IDEncoding.EncodeToString(id),
			Role:    role,
			Created: time.Now().UTC().Truncate(time.Second),
		},
		Secret: newSecret(),
	}, nil
}

func (c Issued) stored() storedRecord {
	hash := sha256.Sum256(c.Secret[:])
	s := storedRecord{Record: c.Record, Hash: hash[:]}
	if c.Standing {
		s.Secret = c.Secret[:]
	}
	return s
}
