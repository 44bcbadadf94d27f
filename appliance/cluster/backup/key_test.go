package backup

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
)

// TestParseKey reads keys as people write and type them, and names the group with a typing error.
func TestParseKey(t *testing.T) {
	t.Parallel()
	key := NewKey()
	text := key.Reveal()
	if len(text) != 46 || strings.Count(text, "-") != 7 {
		t.Errorf("a key is %q", text)
	}
	looks := strings.NewReplacer("0", "o", "1", "l")
	for _, typed := range []string{
		text, strings.ToLower(text), " " + strings.ReplaceAll(text, "-", " ") + "\n", strings.ReplaceAll(text, "-", ""),
		"CBR1" + looks.Replace(text[4:]), `"` + text + `"`, "cbrl" + text[4:], strings.ReplaceAll(text, "-", "\u2013"),
	} {
		if got, err := ParseKey(typed); err != nil || got != key {
			t.Errorf("%q: %v", typed, err)
		}
	}
	for typed, want := range map[string]string{
		"":                        "begins with CBR1-",
		"CBX1-" + text[5:]:        "begins with CBR1-",
		text[:len(text)-1]:        "7 groups of 5",
		text + "A":                "7 groups of 5",
		text + "\u00e4":           "this is 36 characters",
		strings.Repeat("CBR1", 1): "7 groups of 5",
	} {
		if _, err := ParseKey(typed); !errors.Is(err, ErrNotKey) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", typed, err, want)
		}
	}
}

// TestParseKey_EverySlip makes every slip of one character, and of two that are the wrong way round.
func TestParseKey_EverySlip(t *testing.T) {
	t.Parallel()
	text := NewKey().Reveal()
	wants := func(typed string, group int) {
		t.Helper()
		_, err := ParseKey(typed)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("group %d of", group)) ||
			strings.Contains(err.Error(), typed[5:10]) {
			t.Errorf("%q for %q: %v, want one that names group %d", typed, text, err, group)
		}
	}
	for i := len("CBR1-"); i < len(text); i++ {
		if text[i] == '-' {
			continue
		}
		group := (i-len("CBR1-"))/6 + 1
		for _, c := range []byte(alphabet) {
			if c != text[i] {
				wants(text[:i]+string(c)+text[i+1:], group)
			}
		}
		if i+1 < len(text) && text[i+1] != '-' && text[i] != text[i+1] {
			wants(text[:i]+text[i+1:i+2]+text[i:i+1]+text[i+2:], group)
		}
	}
	if groups := strings.Split(text, "-"); groups[1] != groups[2] {
		groups[1], groups[2] = groups[2], groups[1]
		wants(strings.Join(groups, "-"), 1)
	}
}

// TestKey_DoesNotShow prints it in every way that is not Reveal.
func TestKey_DoesNotShow(t *testing.T) {
	t.Parallel()
	key := NewKey()
	for _, text := range []string{
		fmt.Sprint(key), fmt.Sprintf("%+v %#v %q %x", key, key, key, key), fmt.Sprint(struct{ K Key }{key}),
		key.LogValue().String(),
	} {
		if strings.Contains(text, key.Reveal()[5:]) {
			t.Errorf("it shows: %s", text)
		}
	}
}

// TestOpenKey makes one once, and finds it again.
func TestOpenKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	doc := state.NewDocument(statetest.Open(t, dir), state.Recovery)
	key, err := OpenKey(doc)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := OpenKey(doc); err != nil || again != key {
		t.Errorf("it is another one: %v", err)
	}
	if err := doc.Update("damage it", func([]byte) ([]byte, error) { return []byte(`{"secret":"x"}`), nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(doc); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("of a damaged document: %v", err)
	}
}
