package token

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Parse returns these errors, wrapped with what to do.
var (
	ErrNotJoinString = errors.New("not a join token")
	ErrCut           = errors.New("join token is cut")
	ErrTypo          = errors.New("join token has a typing error")
	ErrNewer         = errors.New("join token is from a newer crawlbox")
)

// JoinToken is a decoded join token: where the managers are, how to know the right one,
// and the secret that lets a node in.
type JoinToken struct {
	Role     string
	Managers []netip.AddrPort // 1 to 16
	CA       pki.KeyHash
	Token    string // ID of the token, public
	Secret   Secret
	Expires  time.Time // whole seconds; zero for never
}

const (
	stringFamily  = "CBX"
	stringVersion = 1
	MaxManagers   = 16
	checksumSize  = 4
	// maxString bounds what is looked at, in characters.
	maxString = 2048
)

// String shows what is in the join token but its secret.
func (s JoinToken) String() string {
	return fmt.Sprintf("join token for a %s at %v, cluster %s, token %s", s.Role, s.Managers, s.CA.ClusterID(), s.Token)
}

func (s JoinToken) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Reveal returns the one line to paste on the node that is to join: letters and
// digits after "CBX1-". It holds the secret.
func (s JoinToken) Reveal() (string, error) {
	body, err := s.marshal()
	if err != nil {
		return "", fmt.Errorf("make join token: %w", err)
	}
	sealed := append(body, checksum(body)...)
	return fmt.Sprintf("%s%d-%s%s", stringFamily, stringVersion, crockfordInt(len(sealed)),
		crockford.EncodeToString(sealed)), nil
}

// Parse reads a join token. Spaces and line breaks inside, as terminals add
// them, do no harm, nor do small letters. Its errors never repeat the text,
// which may hold most of a secret.
func Parse(text string) (JoinToken, error) {
	text = strings.Map(dropSpaceAndQuotes, text[:min(len(text), maxString)])
	payload, err := cutPrefix(text)
	if err != nil {
		return JoinToken{}, err
	}
	body, err := open(payload)
	if err != nil {
		return JoinToken{}, err
	}
	var s JoinToken
	if err := s.unmarshal(body); err != nil {
		return JoinToken{}, fmt.Errorf("%w: %w: print it again on the manager with `crawlbox token`", ErrTypo, err)
	}
	return s, nil
}

func dropSpaceAndQuotes(r rune) rune {
	if unicode.IsSpace(r) || strings.ContainsRune("\u200b\ufeff\"'`", r) {
		return -1
	}
	return unicode.ToUpper(r)
}

// cutPrefix takes "CBX1-" off.
func cutPrefix(text string) (string, error) {
	head, payload, ok := strings.Cut(text, "-")
	digits, family := strings.CutPrefix(head, stringFamily)
	version, err := strconv.ParseUint(digits, 10, 16)
	switch {
	case !family || !ok || err != nil || version == 0:
		return "", fmt.Errorf("%w: it begins with %s%d-; print it on the manager with `crawlbox token`",
			ErrNotJoinString, stringFamily, stringVersion)
	case version > stringVersion:
		return "", fmt.Errorf("%w: update crawlbox on this machine to the manager's version", ErrNewer)
	}
	return payload, nil
}

// maxMissing is how much of a token can have been cut off: none has more characters.
const maxMissing = 400

// open takes length and checksum off. The length comes first, in two characters
// of its own, so that a cut string can be told from one with a typing error.
func open(payload string) ([]byte, error) {
	if len(payload) < 2 {
		return nil, fmt.Errorf("%w: nearly all of it is missing; copy the whole line", ErrCut)
	}
	length, err := uncrockfordInt(payload[:2])
	if err != nil {
		return nil, fmt.Errorf("%w: %w; copy the whole line again", ErrTypo, err)
	}
	raw, whole, err := uncrockford(payload[2:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w; copy the whole line again", ErrTypo, err)
	}
	body, intact := verifyChecksum(raw)
	missing := crockford.EncodedLen(length) - len(payload[2:])
	switch {
	case missing > maxMissing && !intact:
		return nil, fmt.Errorf("%w: it is no join token; copy the whole line that `crawlbox token` prints", ErrTypo)
	case missing > 0 && !intact: // intact, it is the length that was mistyped
		return nil, fmt.Errorf("%w: %d characters are missing at its end; copy the whole line", ErrCut, missing)
	case missing != 0 || !intact || !whole:
		return nil, fmt.Errorf("%w: its checksum does not fit; copy the whole line again", ErrTypo)
	}
	return body, nil
}

// verifyChecksum takes the checksum off, and reports whether it fits.
func verifyChecksum(raw []byte) ([]byte, bool) {
	if len(raw) < checksumSize {
		return nil, false
	}
	body, sum := raw[:len(raw)-checksumSize], raw[len(raw)-checksumSize:]
	return body, bytes.Equal(checksum(body), sum)
}

func checksum(data []byte) []byte {
	sum := sha256.Sum256(append([]byte(stringFamily+"1-"), data...))
	return sum[:checksumSize]
}

var stringRoles = []string{fleet.RoleWorker, fleet.RoleManager}

// marshal packs role, expiry, CA, token, secret, and the managers' addresses.
func (s JoinToken) marshal() ([]byte, error) {
	token, err := pki.IDEncoding.DecodeString(s.Token)
	if err != nil || len(token) != tokenIDSize {
		return nil, fmt.Errorf("token ID is %q", s.Token)
	}
	if err := pki.CheckRole(s.Role); err != nil {
		return nil, err
	}
	if len(s.Managers) == 0 || len(s.Managers) > MaxManagers {
		return nil, fmt.Errorf("%d manager addresses, want 1 to %d", len(s.Managers), MaxManagers)
	}
	buf := []byte{0}
	if s.Role == fleet.RoleManager {
		buf[0] = 1
	}
	expires := uint32(0)
	if !s.Expires.IsZero() {
		expires = uint32(s.Expires.Unix())
	}
	buf = binary.BigEndian.AppendUint32(buf, expires)
	buf = append(append(append(buf, s.CA[:]...), token...), s.Secret[:]...)
	for _, m := range s.Managers {
		if !m.IsValid() || m.Port() == 0 || m.Addr().Zone() != "" {
			return nil, fmt.Errorf("manager address %s cannot be used from another machine", m)
		}
		addr := m.Addr().Unmap().AsSlice()
		buf = append(append(buf, byte(len(addr))), addr...)
		buf = binary.BigEndian.AppendUint16(buf, m.Port())
	}
	return buf, nil
}

// unmarshal is strict: what it takes, marshal gives back byte for byte.
func (s *JoinToken) unmarshal(buf []byte) error {
	const fixed = 1 + 4 + sha256.Size + tokenIDSize + len(s.Secret)
	if len(buf) < fixed || int(buf[0]) >= len(stringRoles) {
		return errors.New("its content makes no sense")
	}
	s.Role = stringRoles[buf[0]]
	if e := binary.BigEndian.Uint32(buf[1:]); e != 0 {
		s.Expires = time.Unix(int64(e), 0)
	}
	rest := buf[5:]
	rest = rest[copy(s.CA[:], rest):]
	s.Token, rest = pki.IDEncoding.EncodeToString(rest[:tokenIDSize]), rest[tokenIDSize:]
	rest = rest[copy(s.Secret[:], rest):]
	for len(rest) > 0 {
		size := int(rest[0])
		if len(rest) < 1+size+2 {
			return errors.New("its addresses make no sense")
		}
		addr, ok := netip.AddrFromSlice(rest[1 : 1+size])
		port := binary.BigEndian.Uint16(rest[1+size:])
		if !ok || addr.Is4In6() || port == 0 || len(s.Managers) == MaxManagers {
			return errors.New("its addresses make no sense")
		}
		s.Managers = append(s.Managers, netip.AddrPortFrom(addr, port))
		rest = rest[1+size+2:]
	}
	if len(s.Managers) == 0 {
		return errors.New("it has no address of a manager")
	}
	return nil
}

// crockford is Douglas Crockford's base 32 (crockford.com/base32.html): no I, L, O, U, and
// typing them for 1 or 0 works. It is all letters and digits, so a double
// click selects it.
var crockford = base32.NewEncoding(crockfordAlphabet).WithPadding(base32.NoPadding)

const crockfordAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

var crockfordLookalikes = strings.NewReplacer("O", "0", "I", "1", "L", "1")

// uncrockford takes upper-case text. whole reports whether it is what the data is encoded to:
// text may end with bits that fill no byte.
func uncrockford(text string) (data []byte, whole bool, err error) {
	text = crockfordLookalikes.Replace(text)
	data, err = crockford.DecodeString(text)
	if at, ok := errors.AsType[base32.CorruptInputError](err); ok {
		return nil, false, fmt.Errorf("character %d from its end is none of a join token's", len(text)-int(at))
	}
	return data, crockford.EncodeToString(data) == text, err
}

// crockfordInt writes a number below 1024 in two characters.
func crockfordInt(n int) string {
	return string([]byte{crockfordAlphabet[n>>5&31], crockfordAlphabet[n&31]})
}

func uncrockfordInt(text string) (n int, err error) {
	for _, r := range crockfordLookalikes.Replace(text) {
		v := strings.IndexRune(crockfordAlphabet, r)
		if v < 0 {
			return 0, errors.New("its first characters are none of a join token's")
		}
		n = n<<5 | v
	}
	return n, nil
}

// Secret is the secret of a token. However it is printed or logged, it shows as
// dots; only String.Reveal and the exchange itself turn it into text.
type Secret [16]byte

func newSecret() (s Secret) {
	_, _ = rand.Read(s[:]) // never fails
	return s
}

// Format implements fmt.Formatter, for all verbs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, pki.Redacted) }

// MarshalText implements encoding.TextMarshaler, for JSON and logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(pki.Redacted), nil }
