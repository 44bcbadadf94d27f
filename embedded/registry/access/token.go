package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

const (
	tokenLife = 5 * time.Minute
	// announced is the lifetime that clients are told, so that no token ends on its way. At
	// least a minute, or Docker takes it for a minute.
	announced = tokenLife - 30*time.Second
	// maxToken bounds what is looked at, in bytes.
	maxToken = 1024
)

// errToken says nothing on how a token fails: it is the same to its holder.
var errToken = errors.New("the token has expired, or is not from this process: ask for another")

// tokens makes and reads tokens: base64 of the HMAC-SHA256 and of what it signs.
type tokens struct {
	key []byte
	now func() time.Time
}

type tokenContent struct {
	party
	Expires time.Time `json:"e"`
}

func newTokens(now func() time.Time) *tokens { return &tokens{key: newKey(), now: now} }

func newKey() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails, see its documentation
	return key
}

var tokenEncoding = base64.RawURLEncoding.Strict()

func (t *tokens) issue(p party) string {
	content, err := json.Marshal(tokenContent{party: p, Expires: t.now().Add(tokenLife)})
	if err != nil {
		panic(err) // plain fields always marshal
	}
	return tokenEncoding.EncodeToString(append(sum(t.key, content), content...))
}

func (t *tokens) read(token string) (party, error) {
	// The decoder skips line ends; a token is one text and no other.
	if len(token) > maxToken || strings.ContainsAny(token, "\r\n") {
		return party{}, errToken
	}
	raw, err := tokenEncoding.DecodeString(token)
	if err != nil || len(raw) < sha256.Size {
		return party{}, errToken
	}
	mac, content := raw[:sha256.Size], raw[sha256.Size:]
	if !hmac.Equal(mac, sum(t.key, content)) {
		return party{}, errToken
	}
	var s tokenContent
	if err := json.Unmarshal(content, &s); err != nil || !t.now().Before(s.Expires) {
		return party{}, errToken
	}
	return s.party, nil
}

func sum(key []byte, content []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(content)
	return h.Sum(nil)
}
