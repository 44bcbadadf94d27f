package backup

import (
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// ErrNotKey is returned by ParseKey, wrapped with what to do.
var ErrNotKey = errors.New("not a recovery key")

const (
	keyPrefix = "CBR1"
	keyGroups = 7
	keyGroup  = 5 // characters, the last of which is a check
	alphabet  = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	// maxKey bounds what is looked at, in bytes.
	maxKey = 256
)

// Key is the recovery key of a cluster: 140 random bits, that open its backups. It does not show
// when printed.
type Key struct{ text string }

// NewKey makes a recovery key.
func NewKey() Key {
	random := make([]byte, keyGroups*(keyGroup-1))
	_, _ = rand.Read(random) // never fails
	groups := []string{keyPrefix}
	for i := range keyGroups {
		group := make([]byte, 0, keyGroup)
		for _, b := range random[i*(keyGroup-1) : (i+1)*(keyGroup-1)] {
			group = append(group, alphabet[b%32])
		}
		groups = append(groups, string(append(group, check(i, string(group)))))
	}
	return Key{strings.Join(groups, "-")}
}

// check returns the check character of a group without it: it is another one wherever one
// character is, two are the wrong way round, or the group is in another's place. It is a polynomial
// over the field of 32 elements.
func check(place int, group string) byte {
	sum := place + 1
	for _, c := range []byte(group) {
		sum = twice(sum) ^ strings.IndexByte(alphabet, c)
	}
	return alphabet[twice(sum)]
}

func twice(sum int) int {
	if sum <<= 1; sum > 31 {
		sum ^= 0b100101
	}
	return sum
}

// lookalikes are read as what they look like.
var lookalikes = strings.NewReplacer("O", "0", "I", "1", "L", "1", "U", "V")

// ParseKey reads a recovery key. Small letters, spaces and missing dashes do no harm. Its errors say
// which group has a typing error, and never repeat the text.
func ParseKey(text string) (Key, error) {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.In(r, unicode.Cf, unicode.Pd) || strings.ContainsRune("\"'`", r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, text[:min(len(text), maxKey)])
	body, ok := strings.CutPrefix(lookalikes.Replace(text), keyPrefix)
	if !ok {
		return Key{}, fmt.Errorf("%w: it begins with %s-; `crawlbox recovery-key` prints it on a manager", ErrNotKey,
			keyPrefix)
	}
	if n := utf8.RuneCountInString(body); n != keyGroups*keyGroup {
		return Key{}, fmt.Errorf("%w: it has %d groups of %d letters and digits after %s, and this is %d characters",
			ErrNotKey, keyGroups, keyGroup, keyPrefix, n)
	}
	groups := []string{keyPrefix}
	for i := range keyGroups {
		group := body[i*keyGroup : (i+1)*keyGroup]
		odd := func(r rune) bool { return !strings.ContainsRune(alphabet, r) }
		if strings.ContainsFunc(group, odd) || check(i, group[:keyGroup-1]) != group[keyGroup-1] {
			return Key{}, fmt.Errorf("%w: there is a typing error in group %d of the %d after %s", ErrNotKey, i+1,
				keyGroups, keyPrefix)
		}
		groups = append(groups, group)
	}
	return Key{strings.Join(groups, "-")}, nil
}

// Reveal returns the key as people write it down: CBR1 and seven groups.
func (k Key) Reveal() string { return k.text }

// Format implements fmt.Formatter, for all verbs.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "••••") }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue("••••") }

// private returns what opens what is sealed for the key. The key is random, so a hash of it is as
// good as it is.
func (k Key) private() (hpke.PrivateKey, error) {
	seed := sha256.Sum256([]byte("crawlbox recovery key 1 " + k.text))
	return kem().DeriveKeyPair(seed[:])
}

// Seal returns what seals for the key, and opens nothing.
func (k Key) Seal() (Seal, error) {
	private, err := k.private()
	if err != nil {
		return Seal{}, fmt.Errorf("use the recovery key: %w", err)
	}
	return Seal{private.PublicKey()}, nil
}

// Seal is the public half of a recovery key.
type Seal struct{ public hpke.PublicKey }

// name tells keys apart.
func (s Seal) name() string {
	sum := sha256.Sum256(s.public.Bytes())
	return hex.EncodeToString(sum[:8])
}

// storedKey is the document of a recovery key.
type storedKey struct {
	Secret string `json:"secret"`
}

// OpenKey returns the recovery key that a document has, and makes it where there is none.
func OpenKey(doc *state.Document) (Key, error) {
	data, err := doc.LoadOrCreate(func() ([]byte, error) { return json.Marshal(storedKey{NewKey().text}) })
	if err != nil {
		return Key{}, fmt.Errorf("open the recovery key: %w", err)
	}
	key, err := readKey(data)
	if err != nil {
		return Key{}, fmt.Errorf("open the recovery key: %w", doc.Damaged(err))
	}
	return key, nil
}

// LookKey returns the recovery key that the state in a view has.
func LookKey(view *state.View) (Key, error) {
	data, err := view.Document(state.Recovery)
	if errors.Is(err, state.ErrNotFound) {
		return Key{}, errors.New("this cluster has no recovery key yet: the crawlbox that runs here is of a version " +
			"before; restart it with this one")
	}
	if err != nil {
		return Key{}, err
	}
	key, err := readKey(data)
	if err != nil {
		return Key{}, state.Damaged(state.Recovery, err)
	}
	return key, nil
}

func readKey(data []byte) (Key, error) {
	var stored storedKey
	if err := json.Unmarshal(data, &stored); err != nil {
		return Key{}, errors.New("it is not JSON")
	}
	return ParseKey(stored.Secret)
}
