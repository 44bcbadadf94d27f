package join

import (
	"errors"
	"fmt"
	"strings"
)

// The alphabet is Douglas Crockford's base 32 (crockford.com/base32.html): no
// I, L, O, U, and whoever types them for 1 or 0 is understood. It is all letters
// and digits, so a double click selects it.
const crockfordAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

var crockfordLookalikes = strings.NewReplacer("O", "0", "I", "1", "L", "1")

func crockford(data []byte) string {
	var out strings.Builder
	var acc, bits uint
	for _, b := range data {
		acc, bits = acc<<8|uint(b), bits+8
		for ; bits >= 5; bits -= 5 {
			out.WriteByte(crockfordAlphabet[acc>>(bits-5)&31])
		}
	}
	if bits > 0 {
		out.WriteByte(crockfordAlphabet[acc<<(5-bits)&31])
	}
	return out.String()
}

// crockfordLen is the number of characters for n bytes.
func crockfordLen(n int) int { return (8*n + 4) / 5 }

// uncrockford takes upper-case text. spare are the bits at its end that fill no
// byte; where the text is whole they are zero.
func uncrockford(text string) (data []byte, spare uint, err error) {
	data = make([]byte, 0, len(text)*5/8)
	var acc, bits uint
	for i, r := range crockfordLookalikes.Replace(text) {
		v := strings.IndexRune(crockfordAlphabet, r)
		if v < 0 {
			return nil, 0, fmt.Errorf("character %d from its end is none of a join string's", len(text)-i)
		}
		acc, bits = acc<<5|uint(v), bits+5
		if bits >= 8 {
			bits -= 8
			data = append(data, byte(acc>>bits))
		}
	}
	return data, acc & (1<<bits - 1), nil
}

// crockfordInt writes a number below 1024 in two characters.
func crockfordInt(n int) string {
	return string([]byte{crockfordAlphabet[n>>5&31], crockfordAlphabet[n&31]})
}

func uncrockfordInt(text string) (n int, err error) {
	for _, r := range crockfordLookalikes.Replace(text) {
		v := strings.IndexRune(crockfordAlphabet, r)
		if v < 0 {
			return 0, errors.New("its first characters are none of a join string's")
		}
		n = n<<5 | v
	}
	return n, nil
}
