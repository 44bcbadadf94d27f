package member

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
)

func TestKeys_ChangeInSteps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := openKeys(t, dir)
	old := k.All()[0]
	if len(old) != len(pki.NewKey()) || k.Changing() {
		t.Fatalf("new keys: %d bytes, changing %v", len(old), k.Changing())
	}
	testenv.WantMode(t, filepath.Join(dir, "gossip.json"), 0o600)

	step := func(changing bool) pki.Keyring {
		t.Helper()
		if err := k.Step(); err != nil {
			t.Fatal(err)
		}
		// What a manager finds that was killed here is what it had.
		again := openKeys(t, dir)
		if !reflect.DeepEqual(again.stored.Get(), k.stored.Get()) || again.Changing() != changing {
			t.Fatalf("on disk %d keys, changing %v; want %d, %v", len(again.All()), again.Changing(), len(k.All()),
				changing)
		}
		return again.All()
	}
	both := step(true)
	fresh := both[1]
	if !reflect.DeepEqual(both, pki.Keyring{old, fresh}) || reflect.DeepEqual(old, fresh) {
		t.Error("first the new key is to be known, and the old one in use")
	}
	if got := step(true); !reflect.DeepEqual(got, pki.Keyring{fresh, old}) {
		t.Error("then the new key is to be in use, and the old one good")
	}
	if got := step(false); !reflect.DeepEqual(got, pki.Keyring{fresh}) {
		t.Error("last the old key is to be gone")
	}
}

func TestKeys_DamagedFileStays(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "abc", `{"keys":[]}`, `{"keys":["QUJD"]}`} {
		dir := t.TempDir()
		path := filepath.Join(dir, "gossip.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKeys(statetest.Open(t, dir)); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%q: %v", content, err)
		}
		if got, _ := os.ReadFile(path); string(got) != content {
			t.Errorf("%q was replaced", content)
		}
	}
}

func openKeys(t testing.TB, dir string) *Keys {
	t.Helper()
	k, err := OpenKeys(statetest.Open(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return k
}
