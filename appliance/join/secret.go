package join

import (
	"crypto/rand"
	"fmt"
	"io"
)

// Secret is the secret of a token. However it is printed or logged, it shows as
// dots; only String.Reveal and the exchange itself turn it into text.
type Secret [16]byte

const redacted = "••••"

func newSecret() (s Secret) {
	_, _ = rand.Read(s[:]) // never fails
	return s
}

// Format implements fmt.Formatter, for all verbs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler, for JSON and logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
