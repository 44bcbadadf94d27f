package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// someHash is 32 bytes, as a token file has them.
const someHash = "c2VjcmV0LXNlY3JldC0xNnNlY3JldC1zZWNyZXQtMTY="

// hashOfSecret is that of testString's secret.
const hashOfSecret = "JYHM8RKY5DgF7SkluyKr7lHOKL/l6hCfnwbZClB2vd0="

func openTokens(t testing.TB, dir string) *Store {
	t.Helper()
	tokens, err := Open(statetest.Open(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
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
	if err := tokens.Redeem(first.ID, first.Secret, fleet.RoleWorker, "a"); err != nil {
		t.Error(err)
	}
	if n := len(tokens.List()); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
	testenv.WantMode(t, filepath.Join(dir, "tokens.json"), 0o600)
}

func TestTokens_StandingIsMadeOnce(t *testing.T) {
	t.Parallel()
	tokens := openTokens(t, t.TempDir())
	ids := make([]string, 20)
	var calls sync.WaitGroup
	for i := range ids {
		calls.Go(func() {
			c, err := tokens.Standing(fleet.RoleWorker)
			if err != nil {
				t.Error(err)
			}
			ids[i] = c.ID
		})
	}
	calls.Wait()
	if slices.Sort(ids); len(slices.Compact(ids)) != 1 || len(tokens.List()) != 1 {
		t.Errorf("standing tokens %v, in the list %v", ids, tokens.List())
	}
}

func TestTokens_RotateAndRevoke(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		tokens := openTokens(t, dir)
		worker, manager := standing(t, tokens, fleet.RoleWorker), standing(t, tokens, fleet.RoleManager)
		limited, err := tokens.Issue(fleet.RoleWorker, 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		redeem := func(c Issued) error { return tokens.Redeem(c.ID, c.Secret, c.Role, "a") }
		if err := errors.Join(redeem(worker), redeem(limited), tokens.Rotate(fleet.RoleWorker),
			tokens.Revoke(limited.ID)); err != nil {
			t.Fatal(err)
		}
		next := standing(t, tokens, fleet.RoleWorker)
		if next.ID == worker.ID || standing(t, tokens, fleet.RoleManager) != manager {
			t.Errorf("rotated from %v to %v, the manager's is %v", worker.ID, next.ID, manager.ID)
		}
		docs, err := encode(tokens.docs.Get())
		data := docs[state.Tokens]
		if err != nil || bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(worker.Secret[:]))) {
			t.Errorf("a revoked token's secret is kept, %v", err)
		}
		for _, when := range []string{"revoked", "opened again", "30 days later"} {
			for _, c := range []Issued{worker, limited} {
				if err := redeem(c); !errors.Is(err, ErrRevoked) {
					t.Errorf("%s: %v", when, err)
				}
				bad := Issued{Record: c.Record, Secret: next.Secret}
				if err := redeem(bad); !errors.Is(err, ErrBadSecret) {
					t.Errorf("%s: who does not know the secret hears %v", when, err)
				}
			}
			if err := errors.Join(redeem(next), redeem(manager)); err != nil {
				t.Errorf("%s: %v", when, err)
			}
			if when == "opened again" {
				time.Sleep(keepEnded) // of the bubble's clock
			}
			tokens = openTokens(t, dir)
		}
		if err := tokens.Revoke(limited.ID); err != nil { // again, which does not make it last longer
			t.Error(err)
		}
		time.Sleep(time.Second)
		if err := tokens.Revoke(next.ID); err != nil {
			t.Fatal(err)
		}
		if err := redeem(worker); !errors.Is(err, ErrUnknownToken) {
			t.Errorf("after more than 30 days: %v", err)
		}
	})
}

func standing(t testing.TB, tokens *Store, role string) Issued {
	t.Helper()
	c, err := tokens.Standing(role)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestToken_State(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for want, states := range map[string][]Record{
		StateGood:    {{}, {Expires: now}, {Uses: 2, Used: 1}},
		StateExpired: {{Expires: now.Add(-1)}, {Expires: now.Add(-1), Uses: 1, Used: 1}},
		StateUsedUp:  {{Uses: 2, Used: 2}},
		StateRevoked: {{Revoked: now, Expires: now.Add(-1), Uses: 1, Used: 1}},
	} {
		for _, token := range states {
			if got := token.State(now); got != want {
				t.Errorf("%+v is %s, want %s", token, got, want)
			}
		}
	}
}

// The file is as crawlbox wrote it before tokens had uses and could be revoked.
func TestOpenTokens_OlderFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := `[{"id":"abcdefgh","role":"worker","created":"2026-01-01T00:00:00Z","standing":true,
		"hash":"` + hashOfSecret + `","secret":"c2VjcmV0LXNlY3JldC0xNg=="},
		{"id":"bcdefghi","role":"manager","created":"2026-01-01T00:00:00Z","expires":"2999-01-01T00:00:00Z","hash":"` +
		hashOfSecret + `"}]`
	if err := os.WriteFile(filepath.Join(dir, "tokens.json"), []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, secret := openTokens(t, dir), testString().Secret
	if c := standing(t, tokens, fleet.RoleWorker); c.ID != "abcdefgh" || c.Secret != secret {
		t.Errorf("standing token is %v", c.ID)
	}
	for id, role := range map[string]string{"abcdefgh": fleet.RoleWorker, "bcdefghi": fleet.RoleManager} {
		if err := tokens.Redeem(id, secret, role, "a"); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestTokens_OthersKeepNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := openTokens(t, dir).Issue(fleet.RoleWorker, time.Hour, 5); err != nil {
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
	if _, err := tokens.Issue("king", 0, 0); err == nil {
		t.Error("issued for a role that does not exist")
	}
	if _, err := tokens.Issue(fleet.RoleWorker, -time.Second, 0); err == nil {
		t.Error("issued for the past")
	}
	for _, uses := range []int{-1, maxUses + 1} {
		if _, err := tokens.Issue(fleet.RoleWorker, 0, uses); err == nil {
			t.Errorf("issued for %d uses", uses)
		}
	}
	if err := tokens.Rotate("king"); err == nil {
		t.Error("rotated for a role that does not exist")
	}
	if err := tokens.Revoke("zzzzzzzz"); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("revoked what is not there: %v", err)
	}
	for name, data := range map[string]string{
		"cut":        `[{"id":`,
		"empty":      "",
		"no hash":    `[{"id":"a"}]`,
		"no secret":  `[{"id":"a","standing":true,"hash":"` + someHash + `"}]`,
		"miscounted": `[{"id":"a","uses":2,"used":1,"nodes":["a","b"],"hash":"` + someHash + `"}]`,
		"negative":   `[{"id":"a","uses":-1,"hash":"` + someHash + `"}]`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tokens.json"), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(statetest.Open(t, dir)); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestSort(t *testing.T) {
	t.Parallel()
	at := func(hour int) time.Time { return time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }
	list := []Info{
		{ID: "d", State: StateGood, Created: at(4)},
		{ID: "c", State: "revoked", Created: at(3)},
		{ID: "a", State: StateGood, Created: at(1)},
		{ID: "b", State: "expired", Created: at(2)},
	}
	Sort(list)
	order := ""
	for _, k := range list {
		order += k.ID
	}
	if order != "adbc" {
		t.Errorf("got %s", order)
	}
}
