package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// Do sends a command to an engine, in the database that the leases are in, and returns the
// reply as go-redis does: string, int64, []any, nil. What a script changed must not be sent
// twice by it, but may be: see the functions here.
type Do func(ctx context.Context, args ...any) (any, error)

// Redis returns a Do of a client of go-redis.
func Redis(client interface {
	Do(ctx context.Context, args ...any) *redis.Cmd
}) Do {
	return func(ctx context.Context, args ...any) (any, error) {
		reply, err := client.Do(ctx, args...).Result()
		if errors.Is(err, redis.Nil) {
			return nil, nil
		}
		return reply, err
	}
}

// Load makes the engine know the scripts.
func Load(ctx context.Context, do Do) error {
	for _, s := range script.All {
		if _, err := do(ctx, "SCRIPT", "LOAD", s.Text); err != nil {
			return fmt.Errorf("load the scripts of the leases: %w", err)
		}
	}
	return nil
}

// run runs a script, and teaches it where it is not known. Its reply is numbers.
func (do Do) run(ctx context.Context, s script.Script, keys, argv []string) ([]int64, error) {
	args := make([]any, 0, 3+len(keys)+len(argv))
	args = append(args, "EVALSHA", s.SHA, len(keys))
	for _, arg := range slices.Concat(keys, argv) {
		args = append(args, arg)
	}
	reply, err := do(ctx, args...)
	if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		args[0], args[1] = "EVAL", s.Text
		reply, err = do(ctx, args...)
	}
	if err != nil {
		return nil, err
	}
	list, _ := reply.([]any)
	var out []int64
	for _, v := range list {
		n, _ := v.(int64)
		out = append(out, n)
	}
	return out, nil
}

// items returns the items of a list from start to stop, both included.
func (do Do) items(ctx context.Context, key string, start, stop int) ([]string, error) {
	reply, err := do(ctx, "LRANGE", key, start, stop)
	if err != nil {
		return nil, err
	}
	return texts(reply), nil
}

func texts(reply any) []string {
	list, _ := reply.([]any)
	out := make([]string, 0, len(list))
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// One script works on so many entries at the most, and bytes of them, while others wait.
const (
	atOnce      = 200
	bytesAtOnce = 1 << 20
)

// fitting returns the first of some texts, as many as one script works on; one at least.
func fitting(some []string) []string {
	bytes := 0
	for i, text := range some {
		if bytes += len(text); i > 0 && (i == atOnce || bytes > bytesAtOnce) {
			return some[:i]
		}
	}
	return some
}

// End is how a holder has ended.
type End string

// Ends of holders.
const (
	Done End = "done" // its items are done
	Back End = "back" // its items go back

	undone End = "undo" // the items go back, and nobody has had them
)

// errNowhere is about items that can't be given back.
var errNowhere = errors.New("fit nowhere")

// Spoilt reports whether an error is about keys that hold something else than they should, as clients can have it: what
// is in others can be given back all the same.
func Spoilt(err error) bool {
	return errors.Is(err, errNowhere) || errors.Is(err, bound.ErrTooLong) ||
		err != nil && strings.Contains(err.Error(), "WRONGTYPE ")
}

// large reports whether an engine, or who reads its answer, refuses so many items at once, as it does where they are
// large.
func large(err error) bool {
	return errors.Is(err, bound.ErrTooLong) || errors.As(err, new(redis.Error))
}

// Settled is what became of items.
type Settled struct {
	Ended int // leases
	Dead  int // of these, items that came back too often
}

// Settle ends all leases of a holder that has ended: its items are done, or go back to where
// they were, in their order, those that came back MaxDeliveries times to the list of dead ones.
// The holder must pop no more. A call that was cut off, whatever it had done, is to be
// repeated, and two at once do no harm: each item is moved in one step.
func (r Rules) Settle(ctx context.Context, do Do, holder string, end End) (Settled, error) {
	var sum Settled
	if end == Back {
		if err := r.dropDone(ctx, do, holder); err != nil {
			return sum, wrap(holder, err)
		}
	}
	for {
		entries, err := do.newest(ctx, holder)
		if err != nil {
			return sum, wrap(holder, err)
		}
		if len(entries) == 0 {
			return sum, wrap(holder, Forget(ctx, do, holder))
		}
		some, err := do.settle(ctx, holder, end, r.MaxDeliveries, fitting(entries))
		sum.Ended += some.Ended
		sum.Dead += some.Dead
		if err != nil {
			return sum, wrap(holder, err)
		}
	}
}

// Leave has those with some IDs get nothing more for some time, of at least a second, since they are about to be ended:
// not that one has an item by then that had none a moment ago. It is to be in the database that clients begin in.
func Leave(ctx context.Context, do Do, d time.Duration, ids ...string) error {
	for _, id := range ids {
		if _, err := do(ctx, "SET", script.Leaving+id, "1", "EX", int64(d/time.Second)); err != nil {
			return fmt.Errorf("have %s get nothing more: %w", id, err)
		}
	}
	return nil
}

// Stay takes [Leave] back.
func Stay(ctx context.Context, do Do, ids ...string) error {
	for _, id := range ids {
		if _, err := do(ctx, "DEL", script.Leaving+id); err != nil {
			return fmt.Errorf("have %s get items again: %w", id, err)
		}
	}
	return nil
}

// Leaves reports whether [Leave] was called for a holder, in the database that clients begin in. The script of a pop
// sees it there alone.
func Leaves(ctx context.Context, do Do, holder string) (bool, error) {
	n, err := do.number(ctx, "EXISTS", script.Leaving+script.IDOf(holder))
	return n > 0, err
}

// Forget forgets a holder, if it holds nothing.
func Forget(ctx context.Context, do Do, holder string) error {
	_, err := do.settle(ctx, holder, Done, 1, nil)
	return err
}

// dropDone takes away the entries of a holder that are done and still stay.
func (r Rules) dropDone(ctx context.Context, do Do, holder string) error {
	for {
		done, _, err := r.live(ctx, do, holder)
		if err != nil || done == 0 {
			return err
		}
		entries, err := do.items(ctx, script.HeldPrefix+holder, 0, min(done, atOnce)-1)
		if large(err) {
			entries, err = do.items(ctx, script.HeldPrefix+holder, 0, 0)
		}
		if err != nil {
			return err
		}
		// Counted again: what somebody else took away meanwhile makes fewer of them done.
		if done, _, err = r.live(ctx, do, holder); err != nil || done == 0 {
			return err
		}
		if _, err := do.settle(ctx, holder, Done, 1, fitting(entries[:min(done, len(entries))])); err != nil {
			return err
		}
	}
}

// live returns how many entries of a holder are done, the oldest ones, and how many there are
// in all.
func (r Rules) live(ctx context.Context, do Do, holder string) (done, all int, err error) {
	held := script.HeldPrefix + holder
	if all, err = do.number(ctx, "LLEN", held); err != nil {
		return 0, 0, err
	}
	window := max(1, r.Window)
	if all <= window {
		return 0, all, nil
	}
	// The entries of one pop are in a row. So where the last pop begins is searched for by
	// halves, among what is older than the window.
	newest, there, err := do.stamp(ctx, held, all-1)
	from, to := 0, all-window
	for from < to && there && err == nil {
		mid := (from + to) / 2
		var stamp string
		if stamp, there, err = do.stamp(ctx, held, mid); stamp == newest {
			to = mid
		} else {
			from = mid + 1
		}
	}
	if !there && err == nil { // the list has become shorter meanwhile
		return r.live(ctx, do, holder)
	}
	return from, all, err
}

// stamp returns the stamp of the i-th entry of a list, and reports whether there is one.
func (do Do) stamp(ctx context.Context, held string, i int) (stamp string, there bool, err error) {
	reply, err := do(ctx, "LINDEX", held, i)
	text, there := reply.(string)
	if e, ok := script.Parse(text); ok {
		text = e.Stamp
	}
	return text, there, err
}

func (do Do) number(ctx context.Context, args ...any) (int, error) {
	reply, err := do(ctx, args...)
	n, _ := reply.(int64)
	return int(n), err
}

func wrap(holder string, err error) error {
	if err != nil {
		return fmt.Errorf("settle what %s holds: %w", holder, err)
	}
	return nil
}

// newest returns the last entries of a holder, the newest first: as many as the engine gives
// at once.
func (do Do) newest(ctx context.Context, holder string) ([]string, error) {
	entries, err := do.items(ctx, script.HeldPrefix+holder, -atOnce, -1)
	if large(err) {
		entries, err = do.items(ctx, script.HeldPrefix+holder, -1, -1)
	}
	slices.Reverse(entries)
	return entries, err
}

// settle ends the leases of some entries, the newest first.
func (do Do) settle(ctx context.Context, holder string, end End, most int, entries []string) (Settled, error) {
	held := script.HeldPrefix + holder
	keys := []string{held, script.Holders, script.Tries, script.Died}
	seen := map[string]bool{}
	for _, text := range entries {
		if e, ok := script.Parse(text); ok && !seen[e.Key] {
			seen[e.Key] = true
			keys = append(keys, e.Key, e.Key+script.DeadSuffix)
		}
	}
	argv := append([]string{holder, string(end), fmt.Sprint(most)}, entries...)
	n, err := do.run(ctx, script.Settle, keys, argv)
	switch {
	case err != nil:
		return Settled{}, err
	case len(n) != 3:
		return Settled{}, errors.New("the engine's reply to a script of the leases makes no sense")
	}
	out := Settled{Ended: int(n[0]), Dead: int(n[1])}
	if n[2] > 0 {
		return out, fmt.Errorf("%d items %w: their key and its list of dead items, KEY%s, both hold "+
			"something else than a queue; rename one of them", n[2], errNowhere, script.DeadSuffix)
	}
	return out, nil
}

// Undo gives back the items of one pop, by its stamp, whose reply may not have reached its
// consumer, and returns how many there were. It may be repeated, and has to be done before
// the holder pops again.
func Undo(ctx context.Context, do Do, holder, stamp string) (int, error) {
	return do.undo(ctx, holder, func(e script.Entry) bool { return e.Stamp == stamp })
}

// UndoAll gives back all that a holder holds, what is done and still stays too, as [Undo] does.
func UndoAll(ctx context.Context, do Do, holder string) (int, error) {
	n, err := do.undo(ctx, holder, func(script.Entry) bool { return true })
	if err == nil {
		err = wrap(holder, Forget(ctx, do, holder))
	}
	return n, err
}

// recent is how much older than the newest pop of a holder one may be for which newer ones may
// have gone before its reply.
const recent = 10 * time.Second

// Unsure gives back the items of the last pop of each connection of a holder, and returns how many there were. It is
// for those who don't know which replies have arrived: after a start, before the holder pops again. Of what is done
// that are recent ones only.
//
// What went back is noted in back, by connection. What that had popped before has arrived: it is not given back where
// Unsure is called again with the same notes.
func (r Rules) Unsure(ctx context.Context, do Do, holder string, back map[string]time.Time) (int, error) {
	last := map[string]string{} // stamps by connection
	live := map[string]bool{}   // stamps
	var newest time.Time
	err := r.eachLive(ctx, do, holder, func(e script.Entry) { live[e.Stamp] = true })
	if err != nil {
		return 0, wrap(holder, err)
	}
	err = do.eachEntry(ctx, holder, 0, func(_ string, e script.Entry) {
		_, conn, _ := strings.Cut(e.Stamp, ".")
		last[conn] = e.Stamp
		if at := since(e.Stamp); at.After(newest) {
			newest = at
		}
	})
	if err != nil {
		return 0, wrap(holder, err)
	}
	maps.DeleteFunc(back, func(conn string, _ time.Time) bool { return last[conn] == "" })
	for conn, stamp := range last {
		at := since(stamp)
		if at.Before(back[conn]) || !live[stamp] && newest.Sub(at) > recent {
			delete(last, conn)
			continue
		}
		back[conn] = at // before it goes: a call that was cut off is to be repeated
	}
	if len(last) == 0 {
		return 0, nil
	}
	return do.undo(ctx, holder, func(e script.Entry) bool {
		_, conn, _ := strings.Cut(e.Stamp, ".")
		return last[conn] == e.Stamp
	})
}

// undo gives back the entries that match.
func (do Do) undo(ctx context.Context, holder string, match func(script.Entry) bool) (n int, err error) {
	var found []string
	err = do.eachEntry(ctx, holder, 0, func(text string, e script.Entry) {
		if match(e) {
			found = append(found, text)
		}
	})
	if err != nil {
		return 0, wrap(holder, err)
	}
	slices.Reverse(found)
	for len(found) > 0 {
		some := fitting(found)
		found = found[len(some):]
		settled, err := do.settle(ctx, holder, undone, math.MaxInt32, some)
		n += settled.Ended
		if err != nil {
			return n, wrap(holder, err)
		}
	}
	return n, nil
}

// eachLive walks the entries of a holder that are not done, the oldest first.
func (r Rules) eachLive(ctx context.Context, do Do, holder string, f func(script.Entry)) error {
	done, _, err := r.live(ctx, do, holder)
	if err != nil {
		return err
	}
	return do.eachEntry(ctx, holder, done, func(_ string, e script.Entry) { f(e) })
}

// eachEntry walks the entries of a holder from the i-th on, the oldest first.
func (do Do) eachEntry(ctx context.Context, holder string, i int, f func(text string, e script.Entry)) error {
	for step := atOnce; ; {
		entries, err := do.items(ctx, script.HeldPrefix+holder, i, i+step-1)
		if large(err) && step > 1 {
			step = 1
			continue
		}
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, text := range entries {
			if e, ok := script.Parse(text); ok {
				f(text, e)
			}
		}
		i += len(entries)
	}
}
