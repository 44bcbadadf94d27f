package join

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	tokenIDSize = 5 // bytes
	// keepExpired is for how long an expired token is still called expired, not
	// unknown.
	keepExpired = 30 * 24 * time.Hour
)

// Token is a right to join, without its secret.
type Token struct {
	ID       string    `json:"id"`
	Role     string    `json:"role"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"` // zero for never
	Standing bool      `json:"standing,omitempty"`
}

// Expired says whether the token is of no use any more.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && now.After(t.Expires) }

// Credential is a token with its secret.
type Credential struct {
	Token
	Secret Secret
}

// storedToken is a token on disk. The secret itself is kept only of a standing
// token, which is printed again at every start of the manager; of the others
// there is just the hash.
type storedToken struct {
	Token
	Hash   []byte `json:"hash"` // SHA-256 of the secret
	Secret []byte `json:"secret,omitempty"`
}

// Tokens are the tokens of the cluster, kept in a file. Its methods may be
// called at the same time, but only one process may have the file open.
type Tokens struct {
	path string

	mu   sync.Mutex
	list []storedToken
}

// OpenTokens reads the file tokens.json in dir, or starts without tokens when
// there is none.
func OpenTokens(dir string) (*Tokens, error) {
	t := &Tokens{path: filepath.Join(dir, "tokens.json")}
	data, err := loadOrCreate(t.path, func() ([]byte, error) { return []byte("[]\n"), nil })
	if err != nil {
		return nil, fmt.Errorf("open join tokens: %w", err)
	}
	if err := json.Unmarshal(data, &t.list); err != nil {
		return nil, fmt.Errorf("open join tokens: %w", damaged(t.path, err))
	}
	for _, s := range t.list {
		if len(s.Hash) != sha256.Size || s.Standing && len(s.Secret) != len(Secret{}) {
			return nil, fmt.Errorf("open join tokens: %w", damaged(t.path, fmt.Errorf("token %q is incomplete", s.ID)))
		}
	}
	return t, nil
}

// Issue makes a token for a role that is good for ttl; 0 is for ever.
func (t *Tokens) Issue(role string, ttl time.Duration) (Credential, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.add(role, ttl, false)
}

// Standing returns the token of a role that never expires and stays the same
// over restarts. It is made at the first call.
func (t *Tokens) Standing(role string) (Credential, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.list {
		if s.Standing && s.Role == role {
			return Credential{Token: s.Token, Secret: Secret(s.Secret)}, nil
		}
	}
	return t.add(role, 0, true)
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

// Check returns nil if the secret is that of the token, and the token is good
// for the role now. Else the error is ErrUnknownToken, ErrBadSecret,
// ErrExpiredToken or ErrWrongRole; the last two only to who knows the secret.
func (t *Tokens) Check(id string, secret Secret, role string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.list, func(s storedToken) bool { return s.ID == id })
	if i < 0 {
		return ErrUnknownToken
	}
	s := t.list[i]
	hash := sha256.Sum256(secret[:])
	switch {
	case subtle.ConstantTimeCompare(hash[:], s.Hash) != 1:
		return ErrBadSecret
	case s.Expired(time.Now()):
		return ErrExpiredToken
	case s.Role != role:
		return ErrWrongRole
	}
	return nil
}

// add makes a token and returns it once it is on disk.
func (t *Tokens) add(role string, ttl time.Duration, standing bool) (Credential, error) {
	if err := checkRole(role); err != nil {
		return Credential{}, fmt.Errorf("issue token: %w", err)
	}
	if ttl < 0 || ttl != 0 && ttl < time.Second {
		return Credential{}, errors.New("issue token: it would expire at once: give a time of a second or more")
	}
	id := make([]byte, tokenIDSize)
	_, _ = rand.Read(id) // never fails
	now := time.Now().UTC().Truncate(time.Second)
	c := Credential{
		Token:  Token{ID: idEncoding.EncodeToString(id), Role: role, Created: now, Standing: standing},
		Secret: newSecret(),
	}
	if ttl > 0 {
		c.Expires = now.Add(ttl).Truncate(time.Second)
	}
	hash := sha256.Sum256(c.Secret[:])
	s := storedToken{Token: c.Token, Hash: hash[:]}
	if standing {
		s.Secret = c.Secret[:]
	}
	list := slices.DeleteFunc(slices.Clone(t.list), func(s storedToken) bool {
		return !s.Expires.IsZero() && now.Sub(s.Expires) > keepExpired
	})
	if err := t.save(append(list, s)); err != nil {
		return Credential{}, fmt.Errorf("issue token: %w", err)
	}
	return c, nil
}

func (t *Tokens) save(list []storedToken) error {
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(t.path, append(data, '\n'), secretFile); err != nil {
		return err
	}
	t.list = list
	return nil
}
