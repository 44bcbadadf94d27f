package join

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func openTokens(t *testing.T, dir string) *Tokens {
	t.Helper()
	tokens, err := OpenTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestTokens_Check(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		tokens := openTokens(t, dir)
		short, err := tokens.Issue(fleet.RoleWorker, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		manager, err := tokens.Issue(fleet.RoleManager, 0)
		if err != nil {
			t.Fatal(err)
		}
		check := func(when, what string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s, %s: %v, want %v", when, what, err, want)
			}
		}
		for _, when := range []string{"issued", "opened again"} {
			check(when, "right", tokens.Check(short.ID, short.Secret, fleet.RoleWorker), nil)
			check(when, "unknown", tokens.Check("zzzzzzzz", short.Secret, fleet.RoleWorker), ErrUnknownToken)
			check(when, "bad", tokens.Check(short.ID, manager.Secret, fleet.RoleWorker), ErrBadSecret)
			check(when, "role", tokens.Check(short.ID, short.Secret, fleet.RoleManager), ErrWrongRole)
			check(when, "manager", tokens.Check(manager.ID, manager.Secret, fleet.RoleManager), nil)
			tokens = openTokens(t, dir)
		}
		time.Sleep(time.Hour + time.Second) // of the bubble's clock
		check("later", "expired", tokens.Check(short.ID, short.Secret, fleet.RoleWorker), ErrExpiredToken)
		check("later", "expired, bad secret", tokens.Check(short.ID, manager.Secret, fleet.RoleWorker), ErrBadSecret)
		check("later", "for ever", tokens.Check(manager.ID, manager.Secret, fleet.RoleManager), nil)
		time.Sleep(2 * keepExpired)
		if _, err := tokens.Issue(fleet.RoleWorker, 0); err != nil {
			t.Fatal(err)
		}
		check("much later", "forgotten", tokens.Check(short.ID, short.Secret, fleet.RoleWorker), ErrUnknownToken)
	})
}

func TestTokens_StandingStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := openTokens(t, dir).Standing(fleet.RoleWorker)
	if err != nil {
		t.Fatal(err)
	}
	tokens := openTokens(t, dir)
	again, err := tokens.Standing(fleet.RoleWorker)
	if err != nil || again != first {
		t.Errorf("standing token changed: %+v, then %+v, %v", first, again, err)
	}
	if err := tokens.Check(first.ID, first.Secret, fleet.RoleWorker); err != nil {
		t.Error(err)
	}
	if n := len(tokens.List()); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
	wantMode(t, filepath.Join(dir, "tokens.json"), 0o600)
}

func TestTokens_OthersKeepNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := openTokens(t, dir).Issue(fleet.RoleWorker, time.Hour); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "tokens.json"))
	if err != nil || bytes.Contains(data, []byte(`"secret"`)) {
		t.Errorf("secret of a token is kept: %s, %v", data, err)
	}
}

func TestTokens_Refuse(t *testing.T) {
	t.Parallel()
	tokens := openTokens(t, t.TempDir())
	if _, err := tokens.Issue("king", 0); err == nil {
		t.Error("issued for a role that does not exist")
	}
	if _, err := tokens.Issue(fleet.RoleWorker, -time.Second); err == nil {
		t.Error("issued for the past")
	}
	for name, data := range map[string]string{"cut": `[{"id":`, "empty": "", "no hash": `[{"id":"a"}]`, "no secret": `[{"id":"a","standing":true,"hash":"` + "c2VjcmV0LXNlY3JldC0xNnNlY3JldC1zZWNyZXQtMTY=" + `"}]`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tokens.json"), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenTokens(dir); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}
