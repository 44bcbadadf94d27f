package e2e

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// secrets are texts that must not be seen, in all forms in which they might be
// written, with what each is.
type secrets struct {
	forms map[string]string
	known map[string]string // the secrets themselves
}

func newSecrets() *secrets { return &secrets{forms: map[string]string{}, known: map[string]string{}} }

// fragment is the length of the pieces that are looked for, in characters. A
// secret that was cut or broken into lines is still found by one.
const fragment = 24

var crockfordBase32 = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// add adds a secret; an empty one is none.
func (s *secrets) add(name string, secret []byte) {
	if len(secret) == 0 {
		return
	}
	s.known[string(secret)] = name
	for _, form := range []string{
		string(secret),
		strings.Trim(fmt.Sprintf("%q", secret), `"`),
		strings.Trim(fmt.Sprintf("%d", secret), "[]"),
		hex.EncodeToString(secret),
		base64.RawStdEncoding.EncodeToString(secret),
		base64.RawURLEncoding.EncodeToString(secret),
		base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret),
		crockfordBase32.EncodeToString(secret),
	} {
		s.forms[strings.ToLower(middle(form))] = name
	}
}

// addKey adds a private key in PEM, whole and as the number that it is.
func (s *secrets) addKey(text string) error {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return errors.New("there is no key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	number, err := key.(*ecdsa.PrivateKey).Bytes()
	s.add("a private key", block.Bytes)
	s.add("the number of a private key", number)
	return err
}

// middle is a piece from the middle of a text, which is its own: many secrets of
// one sort begin alike.
func middle(form string) string {
	size := min(fragment, (len(form)*3+3)/4)
	from := (len(form) - size) / 2
	return form[from : from+size]
}

// find returns what was found in a text first, and where.
func (s *secrets) find(text string) (name, line string) {
	text = strings.ToLower(text)
	for form, name := range s.forms {
		if at := strings.Index(text, form); at >= 0 {
			return name, text[max(0, at-120):min(len(text), at+len(form)+40)]
		}
	}
	return "", ""
}

// names counts the secrets by what they are.
func (s *secrets) names() string {
	count := map[string]int{}
	for _, name := range s.known {
		count[name]++
	}
	list := make([]string, 0, len(count))
	for _, name := range slices.Sorted(maps.Keys(count)) {
		list = append(list, fmt.Sprintf("%d × %s", count[name], name))
	}
	return strings.Join(list, ", ")
}
