package token

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func issue(t testing.TB, tokens *Store, role string, ttl time.Duration, uses int) Issued {
	t.Helper()
	c, err := tokens.Issue(role, ttl, uses)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRedeem_SaysWhyNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		tokens := openTokens(t, dir)
		short, manager := issue(t, tokens, fleet.RoleWorker, time.Hour, 1), issue(t, tokens, fleet.RoleManager, 0, 0)
		check := func(when, what string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s, %s: %v, want %v", when, what, err, want)
			}
		}
		for _, when := range []string{"issued", "opened again"} {
			check(when, "unknown", tokens.Redeem("zzzzzzzz", short.Secret, fleet.RoleWorker, "a"), ErrUnknownToken)
			check(when, "bad", tokens.Redeem(short.ID, manager.Secret, fleet.RoleWorker, "a"), ErrBadSecret)
			check(when, "role", tokens.Redeem(short.ID, short.Secret, fleet.RoleManager, "a"), ErrWrongRole)
			check(when, "right", tokens.Redeem(short.ID, short.Secret, fleet.RoleWorker, "a"), nil)
			check(when, "used up", tokens.Redeem(short.ID, short.Secret, fleet.RoleWorker, "b"), ErrUsedUp)
			check(when, "used up, wrong role", tokens.Redeem(short.ID, short.Secret, fleet.RoleManager, "b"),
				ErrWrongRole)
			check(when, "used up, bad secret", tokens.Redeem(short.ID, manager.Secret, fleet.RoleWorker, "b"),
				ErrBadSecret)
			check(when, "manager", tokens.Redeem(manager.ID, manager.Secret, fleet.RoleManager, "a"), nil)
			tokens = openTokens(t, dir)
		}
		time.Sleep(time.Hour + time.Second) // of the bubble's clock
		check("later", "expired", tokens.Redeem(short.ID, short.Secret, fleet.RoleWorker, "a"), ErrExpiredToken)
		check("later", "expired, wrong role", tokens.Redeem(short.ID, short.Secret, fleet.RoleManager, "a"),
			ErrExpiredToken)
		check("later", "expired, bad secret", tokens.Redeem(short.ID, manager.Secret, fleet.RoleWorker, "a"),
			ErrBadSecret)
		check("later", "for ever", tokens.Redeem(manager.ID, manager.Secret, fleet.RoleManager, "a"), nil)
		check("later", "revoke", tokens.Revoke(short.ID), nil)
		check("later", "revoked, expired", tokens.Redeem(short.ID, short.Secret, fleet.RoleWorker, "a"), ErrRevoked)
		time.Sleep(2 * keepEnded)
		issue(t, tokens, fleet.RoleWorker, 0, 0)
		check("much later", "forgotten", tokens.Redeem(short.ID, short.Secret, fleet.RoleWorker, "a"), ErrUnknownToken)
	})
}

func usesOnDisk(t *testing.T, tokens *Store, id string) int {
	t.Helper()
	for _, s := range tokens.list() {
		if s.ID == id {
			return len(s.Nodes)
		}
	}
	t.Fatalf("token %s is not on disk", id)
	return 0
}

func TestRedeem_OnDiskBeforeItReturns(t *testing.T) {
	t.Parallel()
	tokens := openTokens(t, t.TempDir())
	c := issue(t, tokens, fleet.RoleWorker, 0, 3)
	for i, node := range []string{"a", "a", "b", "b", "c", "a"} {
		if err := tokens.Redeem(c.ID, c.Secret, c.Role, node); err != nil {
			t.Fatal(err)
		}
		want := []int{1, 1, 2, 2, 3, 3}[i]
		if got := usesOnDisk(t, tokens, c.ID); got != want || tokens.List()[0].Used != want {
			t.Errorf("after %d tries %d uses are on disk and %d in the list, want %d", i+1, got, tokens.List()[0].Used,
				want)
		}
	}
	if err := tokens.Redeem(c.ID, c.Secret, c.Role, "d"); !errors.Is(err, ErrUsedUp) {
		t.Errorf("the fourth node: %v", err)
	}
}

// badDisk is a store whose disk can fail.
type badDisk struct {
	state.Store
	fails bool
}

func (d *badDisk) Commit(
	ctx context.Context, base state.Version, changes state.Contents, message string, read ...string,
) (state.Version, error) {
	if d.fails {
		return "", errors.New("the disk fails")
	}
	return d.Store.Commit(ctx, base, changes, message, read...)
}

func TestRedeem_NotWhenTheDiskFails(t *testing.T) {
	t.Parallel()
	disk := &badDisk{Store: statetest.Open(t, t.TempDir())}
	tokens, err := Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	c, free := issue(t, tokens, fleet.RoleWorker, 0, 1), issue(t, tokens, fleet.RoleWorker, 0, 0)
	disk.fails = true
	for range 2 {
		if err := tokens.Redeem(c.ID, c.Secret, c.Role, "a"); err == nil {
			t.Error("redeemed without a record of it")
		}
	}
	if err := tokens.Redeem(free.ID, free.Secret, free.Role, "a"); err != nil {
		t.Errorf("a token without a limit needs no disk: %v", err)
	}
	if _, err := tokens.Issue(fleet.RoleWorker, 0, 0); err == nil || len(tokens.List()) != 2 {
		t.Errorf("issued what is not on disk: %v, %v", err, tokens.List())
	}
	if err := tokens.Revoke(free.ID); err == nil {
		t.Error("revoked what is good after the next start")
	}
	disk.fails = false
	for range 2 {
		if err := tokens.Redeem(c.ID, c.Secret, c.Role, "a"); err != nil || usesOnDisk(t, tokens, c.ID) != 1 {
			t.Errorf("once the disk works: %v", err)
		}
	}
}

func TestRedeem_ExactlyAsOftenAsItMay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tokens := openTokens(t, dir)
	c := issue(t, tokens, fleet.RoleWorker, 0, 50)
	var in, out atomic.Int32
	var nodes sync.WaitGroup
	for i := range 60 {
		for range 2 { // each node twice: it was cut off
			nodes.Go(func() {
				switch err := tokens.Redeem(c.ID, c.Secret, c.Role, fmt.Sprint("node-", i)); {
				case err == nil:
					in.Add(1)
				case errors.Is(err, ErrUsedUp):
					out.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		nodes.Go(func() { // others change the list meanwhile
			if i%10 == 0 {
				if err := tokens.Revoke(issue(t, tokens, fleet.RoleManager, time.Hour, 0).ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	nodes.Wait()
	if in.Load() != 100 || out.Load() != 20 {
		t.Errorf("%d tries succeeded and %d were told it is used up, want 100 and 20", in.Load(), out.Load())
	}
	if got := usesOnDisk(t, tokens, c.ID); got != 50 {
		t.Errorf("%d uses on disk", got)
	}
	if err := openTokens(t, dir).Redeem(c.ID, c.Secret, c.Role, "late"); !errors.Is(err, ErrUsedUp) {
		t.Errorf("after a restart: %v", err)
	}
}

func BenchmarkRedeem(b *testing.B) {
	b.Run("unlimited", func(b *testing.B) {
		tokens := openTokens(b, b.TempDir())
		c := issue(b, tokens, fleet.RoleWorker, 0, 0)
		for b.Loop() {
			if err := tokens.Redeem(c.ID, c.Secret, c.Role, "a"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("limited", func(b *testing.B) { benchmarkLimited(b, 1) })
	b.Run("limited-50-at-once", func(b *testing.B) { benchmarkLimited(b, 50) })
}

// benchmarkLimited has so many nodes redeem a token at once.
func benchmarkLimited(b *testing.B, nodes int) {
	tokens := openTokens(b, b.TempDir())
	for b.Loop() {
		c := issue(b, tokens, fleet.RoleWorker, 0, nodes)
		var redeems sync.WaitGroup
		for i := range nodes {
			redeems.Go(func() {
				if err := tokens.Redeem(c.ID, c.Secret, c.Role, fmt.Sprint(i)); err != nil {
					b.Error(err)
				}
			})
		}
		redeems.Wait()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N*nodes)/1e3, "µs/node")
}
