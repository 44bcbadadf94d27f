package access

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestAccounts_File(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "accounts.json")
	a, err := OpenAccounts(file(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.List()) != 0 {
		t.Errorf("new accounts: %v", a.List())
	}
	first, second := issue(t, a, "ci"), issue(t, a, "laptop")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), first) || strings.Contains(string(data), second) {
		t.Error("a password is in the file")
	}
	again, err := OpenAccounts(file(path))
	if err != nil {
		t.Fatal(err)
	}
	list := again.List()
	if len(list) != 2 || list[0].Name != "ci" || list[1].Name != "laptop" || list[0].Created.IsZero() {
		t.Errorf("after opening again: %v", list)
	}
	found, _ := again.find("ci")
	if cost, err := bcrypt.Cost([]byte(found.Hash)); err != nil || cost != bcrypt.DefaultCost {
		t.Errorf("hashed with cost %d, %v, want %d", cost, err, bcrypt.DefaultCost)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(found.Hash), []byte(first)); err != nil {
		t.Error(err)
	}
}

func TestAccounts_Remove(t *testing.T) {
	t.Parallel()
	a := newAccounts(t)
	issue(t, a, "ci")
	if err := a.Remove("nobody"); !errors.Is(err, ErrUnknownAccount) {
		t.Errorf("unknown account: %v", err)
	}
	if err := a.Remove("ci"); err != nil {
		t.Error(err)
	}
	again, err := openAccounts(a.doc, bcrypt.MinCost)
	if err != nil {
		t.Fatalf("a file without accounts: %v", err)
	}
	if len(again.List()) != 0 {
		t.Errorf("still there: %v", again.List())
	}
}

func TestAccounts_Names(t *testing.T) {
	t.Parallel()
	a := newAccounts(t)
	for _, name := range []string{"", "-x", ".x", "Ci", "a b", "a:b", "a\n", "é", strings.Repeat("a", 33)} {
		if _, err := a.Issue(name); err == nil {
			t.Errorf("%q names an account", name)
		}
	}
	for _, name := range []string{"a", "0", "a.b_c-d", strings.Repeat("a", 32)} {
		issue(t, a, name)
	}
}

func TestAccounts_Damaged(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	good := `{"name":"ci","issue":"i","hash":"` + string(hash) + `"}`
	for name, content := range map[string]string{
		"empty":     "",
		"cut":       `{"accounts":[` + good,
		"trailing":  `{"accounts":[` + good + `]} x`,
		"no list":   `{}`,
		"no name":   `{"accounts":[` + strings.Replace(good, "ci", "", 1) + `]}`,
		"bad name":  `{"accounts":[` + strings.Replace(good, "ci", "c i", 1) + `]}`,
		"twice":     `{"accounts":[` + good + "," + good + `]}`,
		"no hash":   `{"accounts":[{"name":"ci","issue":"i"}]}`,
		"bad hash":  `{"accounts":[{"name":"ci","issue":"i","hash":"$2a$xx$"}]}`,
		"no issue":  `{"accounts":[` + strings.Replace(good, `"i"`, `""`, 1) + `]}`,
		"not JSON":  "ci:" + string(hash),
		"all zeros": strings.Repeat("\x00", 100),
	} {
		path := filepath.Join(t.TempDir(), "accounts.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := openAccounts(file(path), bcrypt.MinCost)
		if err == nil || !strings.Contains(err.Error(), "are damaged") ||
			!strings.Contains(err.Error(), "restore the") {
			t.Errorf("%s: %v, want an error that says what to do", name, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != content {
			t.Errorf("%s: the file was changed", name)
		}
	}
	path := filepath.Join(t.TempDir(), "accounts.json")
	if err := os.WriteFile(path, []byte(`{"accounts":[`+good+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openAccounts(file(path), bcrypt.MinCost); err != nil {
		t.Errorf("the file that the others are made of: %v", err)
	}
}

// TestAccounts_NoDisk takes the directory away: nothing may change that is not on
// the disk.
func TestAccounts_NoDisk(t *testing.T) {
	t.Parallel()
	a := newAccounts(t)
	issue(t, a, "ci")
	before, _ := a.find("ci")
	a.doc = a.doc.(file) + "/not-a-directory/accounts.json"
	if _, err := a.Issue("ci"); err == nil {
		t.Error("a password was issued that is not on the disk")
	}
	if err := a.Remove("ci"); err == nil {
		t.Error("an account was removed that is still on the disk")
	}
	if after, ok := a.find("ci"); !ok || after != before {
		t.Error("the account changed, but not on the disk")
	}
}

func TestAccounts_AtOnce(t *testing.T) {
	t.Parallel()
	a := newAccounts(t)
	names := []string{"a", "b", "c", "d", "e", "f"}
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() {
			if _, err := a.Issue(name); err != nil {
				t.Error(err)
			}
			a.List()
		})
	}
	wg.Wait()
	again, err := openAccounts(a.doc, bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.List()) != len(names) {
		t.Errorf("on the disk: %v, want %v", again.List(), names)
	}
}
