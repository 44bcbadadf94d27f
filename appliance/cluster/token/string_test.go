package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func testString() JoinToken {
	return JoinToken{
		Role: fleet.RoleWorker,
		Managers: []netip.AddrPort{netip.MustParseAddrPort(
			"45.77.138.242:7980"), netip.MustParseAddrPort("[2001:db8::1]:7980")},
		CA:      pki.KeyHash(bytes.Repeat([]byte{0xab}, 32)),
		Token:   "abcdefgh",
		Secret:  Secret([]byte("secret-secret-16")),
		Expires: time.Unix(2_000_000_000, 0),
	}
}

func reveal(t testing.TB, s JoinToken) string {
	t.Helper()
	text, err := s.Reveal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestString_RoundTrip(t *testing.T) {
	t.Parallel()
	forEver, manager := testString(), testString()
	forEver.Expires = time.Time{}
	manager.Role, manager.Managers = fleet.RoleManager, manager.Managers[:1]
	many := testString()
	many.Managers = slices.Repeat(many.Managers[1:], MaxManagers)
	for _, want := range []JoinToken{testString(), forEver, manager, many} {
		text := reveal(t, want)
		got, err := Parse(text)
		if err != nil || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) || got.Secret != want.Secret ||
			!got.Expires.Equal(want.Expires) {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
		if strings.Trim(text, crockfordAlphabet+"-") != "" {
			t.Errorf("%s: a double click would not select it", text)
		}
	}
}

func TestParse_ForgivesTheTerminal(t *testing.T) {
	t.Parallel()
	text := reveal(t, testString())
	for name, in := range map[string]string{
		"line breaks":   text[:40] + "\r\n  " + text[40:80] + "\n" + text[80:] + "\n",
		"small letters": strings.ToLower(text),
		"quotes":        "'" + text + "'",
		"lookalikes":    text[:5] + strings.NewReplacer("0", "o", "1", "l").Replace(text[5:]),
		"no-break":      "\ufeff" + text[:9] + "\u00a0" + text[9:],
	} {
		if got, err := Parse(in); err != nil || got.Secret != testString().Secret {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParse_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	text := reveal(t, testString())
	for name, tt := range map[string]struct {
		in   string
		want error
	}{
		"nothing": {"", ErrNotJoinString},
		"swarm's token": {
			"SWMTKN-1-49nj1cmql0jkz5s954yi3oex3nedyz0fb0xx14ie39trti4wxv-8vxv8rssmk743ojnwacrr2e7c", ErrNotJoinString,
		},
		"without prefix":  {text[5:], ErrNotJoinString},
		"prefix alone":    {"CBX1", ErrNotJoinString},
		"version zero":    {"CBX0" + text[4:], ErrNotJoinString},
		"newer":           {"CBX2-ABC", ErrNewer},
		"cut after head":  {"CBX1-", ErrCut},
		"made up":         {"CBX1-xyz", ErrTypo},
		"cut in half":     {text[:len(text)/2], ErrCut},
		"something after": {text + "AAAA", ErrTypo},
		"no such letter":  {text[:20] + "U" + text[21:], ErrTypo},
		"far too long":    {"CBX1-" + strings.Repeat("A", 1<<20), ErrTypo},
	} {
		_, err := Parse(tt.in)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), text[30:60])) {
			t.Errorf("%s: message is not one line without the string: %v", name, err)
		}
	}
}

func TestParse_FindsEveryCutAndEveryTypo(t *testing.T) {
	t.Parallel()
	text := reveal(t, testString())
	for n := len("CBX1-"); n < len(text); n++ {
		if _, err := Parse(text[:n]); !errors.Is(err, ErrCut) {
			t.Errorf("cut to %d characters: %v", n, err)
		}
	}
	for i := len("CBX1-"); i < len(text); i++ {
		for _, c := range crockfordAlphabet {
			if text[i] == byte(c) {
				continue
			}
			if _, err := Parse(text[:i] + string(c) + text[i+1:]); !errors.Is(err, ErrTypo) {
				t.Errorf("character %d changed to %c: %v", i, c, err)
			}
		}
	}
	for i := len("CBX1-"); i < len(text)-1; i++ {
		if text[i] == text[i+1] {
			continue
		}
		swapped := text[:i] + text[i+1:i+2] + text[i:i+1] + text[i+2:]
		if _, err := Parse(swapped); !errors.Is(err, ErrTypo) {
			t.Errorf("characters %d and %d swapped: %v", i, i+1, err)
		}
	}
}

func TestReveal_RefusesWhatNobodyCouldUse(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*JoinToken){
		"role":       func(s *JoinToken) { s.Role = "king" },
		"no manager": func(s *JoinToken) { s.Managers = nil },
		"no port":    func(s *JoinToken) { s.Managers = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:0")} },
		"zone":       func(s *JoinToken) { s.Managers = []netip.AddrPort{netip.MustParseAddrPort("[fe80::1%eth0]:1")} },
		"token":      func(s *JoinToken) { s.Token = "x" },
		"too many":   func(s *JoinToken) { s.Managers = make([]netip.AddrPort, 17) },
	} {
		s := testString()
		spoil(&s)
		if text, err := s.Reveal(); err == nil {
			t.Errorf("%s: made %s", name, text)
		}
	}
}

func TestSecrets_DoNotShow(t *testing.T) {
	t.Parallel()
	s := testString()
	member := pki.Membership{
		GossipKeys: pki.Keyring{pki.Key("secret-secret-16")},
		Swarm:      pki.SwarmJoin{Token: "secret-secret-16"},
	}
	var out bytes.Buffer
	for _, v := range []any{
		s, &s, s.Secret, Issued{Secret: s.Secret}, member, &member, member.Swarm, member.GossipKeys,
	} {
		fmt.Fprintf(&out, "%v %+v %#v %s %x %q %d\n", v, v, v, v, v, v, v)
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("test", "value", v)
		}
	}
	if data, err := json.Marshal(s); err == nil {
		out.Write(data)
	}
	for _, leak := range []string{
		"secret-secret", "7365637265742d", "115 101 99 114", "c2VjcmV0LXNlY3JldC0xNg", "0x73, 0x65",
	} {
		if i := strings.Index(out.String(), leak); i >= 0 {
			t.Errorf("shows the secret: %.200s", out.String()[max(0, i-100):])
		}
	}
}

// same compares what String.String does not show too.
func same(a, b JoinToken) bool {
	return fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b) && a.Secret == b.Secret && a.Expires.Equal(b.Expires) &&
		slices.Equal(a.Managers, b.Managers)
}

func FuzzParse(f *testing.F) {
	text := reveal(f, testString())
	f.Add(text)
	f.Add(text[:50])
	f.Add("CBX1-00000000")
	f.Add("CBX99-")
	f.Fuzz(func(t *testing.T, in string) {
		s, err := Parse(in)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 300 || !same(s, JoinToken{}) {
				t.Errorf("%v, with an error that is no short line: %q", s, err)
			}
			return
		}
		if got, err := Parse(reveal(t, s)); err != nil || !same(got, s) {
			t.Fatalf("%v became %v, %v", s, got, err)
		}
	})
}

// FuzzParse_Typo changes one character of a join token, which stays what it was
// or is refused for what is wrong with the text, not for what it says.
func FuzzParse_Typo(f *testing.F) {
	one, many := testString(), testString()
	many.Managers = slices.Repeat(many.Managers, MaxManagers/2)
	for i, s := range []JoinToken{one, many} {
		body, err := s.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, uint16(5+i), 'A')
		f.Add(body, uint16(100+i), 'o')
		f.Add(body, uint16(40+i), ' ')
		f.Add(body, uint16(i), '\u00e9')
	}
	f.Fuzz(func(t *testing.T, body []byte, where uint16, typed rune) {
		var s JoinToken
		if s.unmarshal(body) != nil {
			return
		}
		text := reveal(t, s)
		at := int(where) % len(text)
		got, err := Parse(text[:at] + string(typed) + text[at+1:])
		right := crockfordLookalikes.Replace(text[at : at+1])
		c := crockfordLookalikes.Replace(strings.Map(dropSpaceAndQuotes, string(typed)))
		inHead := at < len("CBX1-")
		switch {
		case c == right:
			if err != nil && !inHead || err == nil && !same(got, s) {
				t.Errorf("%q for %q: %v, %v", typed, right, got, err)
			}
		case err == nil:
			t.Errorf("character %d changed from %q to %q: not found", at, right, typed)
		case inHead:
			if !errors.Is(err, ErrNotJoinString) && !errors.Is(err, ErrNewer) {
				t.Errorf("head changed to %q: %v", typed, err)
			}
		case c == "":
			if !errors.Is(err, ErrCut) && !errors.Is(err, ErrTypo) {
				t.Errorf("character %d taken out: %v", at, err)
			}
		case strings.Contains(crockfordAlphabet, c):
			if !errors.Is(err, ErrTypo) || !strings.Contains(err.Error(), "checksum") {
				t.Errorf("character %d changed from %q to %q: %v", at, right, typed, err)
			}
		case !errors.Is(err, ErrTypo):
			t.Errorf("character %d changed to %q: %v", at, typed, err)
		}
	})
}
