package join

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	tokenIDSize = 5 // bytes
	// maxUses bounds the nodes that are kept with a token. Larger fleets get a
	// token that expires.
	maxUses = 1000
)

// Token is a right to join, without its secret.
type Token struct {
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
	TokenGood    = "good"
	TokenExpired = "expired"
	TokenUsedUp  = "used up"
	TokenRevoked = "revoked"
)

// State says whether a node may still join with the token, and if not why.
func (t Token) State(now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return TokenRevoked
	case t.Expired(now):
		return TokenExpired
	case t.usedUp():
		return TokenUsedUp
	}
	return TokenGood
}

// Expired says whether the token's time is over.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && now.After(t.Expires) }

func (t Token) usedUp() bool { return t.Uses > 0 && t.Used >= t.Uses }

// Credential is a token with its secret.
type Credential struct {
	Token
	Secret Secret
}

// Issue makes a token for a role that is good for ttl, and for as many nodes as
// uses says, at most 1000; 0 is for ever and for any number.
func (t *Tokens) Issue(role string, ttl time.Duration, uses int) (Credential, error) {
	if ttl < 0 || ttl != 0 && ttl < time.Second {
		return Credential{}, errors.New("issue token: it would expire at once: give a time of a second or more")
	}
	if uses < 0 || uses > maxUses {
		return Credential{}, fmt.Errorf("issue token: %d uses: give 1 to %d, or 0 for any number", uses, maxUses)
	}
	c, err := newCredential(role)
	if err != nil {
		return Credential{}, fmt.Errorf("issue token: %w", err)
	}
	c.Uses = uses
	if ttl > 0 {
		c.Expires = c.Created.Add(ttl).Truncate(time.Second)
	}
	err = t.edit(func(list []storedToken) []storedToken { return append(list, c.stored()) })
	if err != nil {
		return Credential{}, fmt.Errorf("issue token: %w", err)
	}
	return c, nil
}

// Standing returns the token of a role that never expires, lets in any number of
// nodes and stays the same over restarts. It is made at the first call, and at
// the first one after it was revoked.
func (t *Tokens) Standing(role string) (Credential, error) {
	if c, ok := t.standing(role); ok {
		return c, nil
	}
	c, err := newCredential(role)
	if err != nil {
		return Credential{}, fmt.Errorf("issue token: %w", err)
	}
	c.Standing = true
	err = t.edit(func(list []storedToken) []storedToken {
		if i := slices.IndexFunc(list, isStanding(role)); i >= 0 { // made in the meantime
			c = list[i].credential()
			return list
		}
		return append(list, c.stored())
	})
	if err != nil {
		return Credential{}, fmt.Errorf("issue token: %w", err)
	}
	return c, nil
}

func (t *Tokens) standing(role string) (Credential, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.list, isStanding(role))
	if i < 0 {
		return Credential{}, false
	}
	return t.list[i].credential(), true
}

func isStanding(role string) func(storedToken) bool {
	return func(s storedToken) bool { return s.Standing && s.Revoked.IsZero() && s.Role == role }
}

// Revoke ends a token: from when it returns no node joins with it. For 30 days
// those who try are told that it was revoked. Revoked twice, the first time
// counts. The error is ErrUnknownToken where there is no such token.
func (t *Tokens) Revoke(id string) error {
	known := false
	err := t.edit(func(list []storedToken) []storedToken {
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

func isToken(id string) func(storedToken) bool {
	return func(s storedToken) bool { return s.ID == id }
}

// Rotate revokes the standing token of a role. The next call of Standing makes
// another.
func (t *Tokens) Rotate(role string) error {
	if err := checkRole(role); err != nil {
		return fmt.Errorf("rotate token: %w", err)
	}
	err := t.edit(func(list []storedToken) []storedToken { return revoke(list, isStanding(role)) })
	if err != nil {
		return fmt.Errorf("rotate token: %w", err)
	}
	return nil
}

// revoke leaves a tombstone, which knows the secret's hash but not the secret.
func revoke(list []storedToken, which func(storedToken) bool) []storedToken {
	for i, s := range list {
		if which(s) && s.Revoked.IsZero() {
			s.Revoked, s.Secret, s.Nodes = time.Now().UTC().Truncate(time.Second), nil, nil
			list[i] = s
		}
	}
	return list
}

// List returns all tokens, the oldest first.
func (t *Tokens) List() []Token {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Token, len(t.list))
	for i, s := range t.list {
		list[i] = s.Token
	}
	return list
}

func newCredential(role string) (Credential, error) {
	if err := checkRole(role); err != nil {
		return Credential{}, err
	}
	id := make([]byte, tokenIDSize)
	_, _ = rand.Read(id) // never fails
	return Credential{
		Token:  Token{ID: idEncoding.EncodeToString(id), Role: role, Created: time.Now().UTC().Truncate(time.Second)},
		Secret: newSecret(),
	}, nil
}

func (c Credential) stored() storedToken {
	hash := sha256.Sum256(c.Secret[:])
	s := storedToken{Token: c.Token, Hash: hash[:]}
	if c.Standing {
		s.Secret = c.Secret[:]
	}
	return s
}
