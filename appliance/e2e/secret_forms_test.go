package e2e

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
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

// fragment is the length of the pieces that are looked for: a secret that was cut
// or broken into lines is still found. Pieces of half of a secret's length are
// looked for where that is less.
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
		strings.Trim(fmt.Sprint(secret), "[]"),
		hex.EncodeToString(secret),
		base64.RawStdEncoding.EncodeToString(secret),
		base64.RawURLEncoding.EncodeToString(secret),
		base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret),
		crockfordBase32.EncodeToString(secret),
	} {
		s.forms[strings.ToLower(middle(form))] = name
	}
}

// middle is a piece from the middle of a text, so that neither a common beginning
// nor a cut end hides it.
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
