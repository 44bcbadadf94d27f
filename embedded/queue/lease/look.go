package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// Holding is a holder with what is known of it.
type Holding struct {
	ID string
	About
}

// Holders returns everybody who holds items, in the order of their IDs.
func Holders(ctx context.Context, do Do) ([]Holding, error) {
	return SomeHolders(ctx, do, math.MaxInt, func(Holding) bool { return true })
}

// SomeHolders returns those that are wanted, up to most of them: clients of the queue can make up any number.
func SomeHolders(ctx context.Context, do Do, most int, want func(Holding) bool) ([]Holding, error) {
	all := map[string]Holding{} // a scan may tell one twice
	for cursor := "0"; ; {
		reply, err := do(ctx, "HSCAN", script.Holders, cursor, "COUNT", "500")
		if err != nil {
			return nil, fmt.Errorf("read who holds items: %w", err)
		}
		list, _ := reply.([]any)
		if len(list) != 2 {
			return nil, errors.New("read who holds items: the engine's reply makes no sense")
		}
		for pair := range slices.Chunk(texts(list[1]), 2) {
			h := Holding{ID: pair[0]}
			if len(pair) == 2 {
				_ = json.Unmarshal([]byte(pair[1]), &h.About) // it is only told
			}
			if want(h) && len(all) < most {
				all[h.ID] = h
			}
		}
		if cursor, _ = list[0].(string); cursor == "0" || cursor == "" || len(all) >= most {
			break
		}
	}
	out := make([]Holding, 0, len(all))
	for _, h := range all {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b Holding) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// mostDatabases are looked at; an engine has 16 unless it is told otherwise.
const mostDatabases = 1024

// Databases returns those that have keys.
func Databases(ctx context.Context, do Do) (dbs []int, err error) {
	reply, err := do(ctx, "INFO", "keyspace")
	if err != nil {
		return nil, fmt.Errorf("read which databases are used: %w", err)
	}
	info, _ := reply.(string)
	for line := range strings.Lines(info) {
		name, _, _ := strings.Cut(line, ":")
		digits, ok := strings.CutPrefix(name, "db")
		if db, err := strconv.Atoi(digits); ok && err == nil && len(dbs) < mostDatabases {
			dbs = append(dbs, db)
		}
	}
	return dbs, nil
}

// Held returns how many items of each key each holder holds.
func (r Rules) Held(ctx context.Context, do Do) (map[string]map[string]int, error) {
	holders, err := Holders(ctx, do)
	if err != nil {
		return nil, err
	}
	held := map[string]map[string]int{}
	for _, h := range holders {
		err := r.eachLive(ctx, do, h.ID, func(e script.Entry) {
			if held[e.Key] == nil {
				held[e.Key] = map[string]int{}
			}
			held[e.Key][h.ID]++
		})
		if err != nil && !Spoilt(err) {
			return nil, fmt.Errorf("read what %s holds: %w", h.ID, err)
		}
	}
	return held, nil
}

// Lease is an item that somebody holds.
type Lease struct {
	Holder Holding
	Key    string
	Item   string
	Since  time.Time
}

// InFlight returns up to n items that somebody holds, from where the last page ended or "",
// and where the next one begins, "" at the end. What begins or ends meanwhile may be missing
// or told twice.
func (r Rules) InFlight(ctx context.Context, do Do, from string, n int) (page []Lease, next string, err error) {
	holders, err := Holders(ctx, do)
	if err != nil {
		return nil, "", err
	}
	digits, first, _ := strings.Cut(from, ":")
	skip, _ := strconv.Atoi(digits)
	skip = max(0, skip)
	for _, h := range holders {
		if h.ID < first {
			continue
		}
		done, _, err := r.live(ctx, do, h.ID)
		if Spoilt(err) {
			continue
		}
		if err != nil {
			return nil, "", fmt.Errorf("read what %s holds: %w", h.ID, err)
		}
		if h.ID != first {
			skip = 0
		}
		for len(page) < n {
			at := done + skip
			entries, err := do.items(ctx, script.HeldPrefix+h.ID, at, at+min(atOnce, n-len(page))-1)
			if large(err) {
				entries, err = do.items(ctx, script.HeldPrefix+h.ID, at, at)
			}
			if err != nil {
				return nil, "", fmt.Errorf("read what %s holds: %w", h.ID, err)
			}
			if len(entries) == 0 {
				break
			}
			skip += len(entries)
			for _, text := range entries {
				if e, ok := script.Parse(text); ok {
					page = append(page, Lease{Holder: h, Key: e.Key, Item: e.Item, Since: since(e.Stamp)})
				}
			}
		}
		if len(page) >= n {
			return page, strconv.Itoa(skip) + ":" + h.ID, nil
		}
	}
	return page, "", nil
}

// since returns when a pop was.
func since(stamp string) time.Time {
	digits, _, _ := strings.Cut(stamp, ".")
	micros, err := strconv.ParseInt(digits, 36, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(micros)
}

// Count is how many items of a key there are.
type Count struct {
	Key                     string
	Waiting, InFlight, Dead int64
}

// Counts counts the items of some keys. A key that holds no queue has none.
func (r Rules) Counts(ctx context.Context, do Do, keys ...string) ([]Count, error) {
	held, err := r.Held(ctx, do)
	if err != nil {
		return nil, err
	}
	out := make([]Count, len(keys))
	for i, key := range keys {
		out[i].Key = key
		for _, n := range held[key] {
			out[i].InFlight += int64(n)
		}
		if out[i].Waiting, err = do.length(ctx, key); err == nil {
			out[i].Dead, err = do.length(ctx, key+script.DeadSuffix)
		}
		if err != nil {
			return nil, fmt.Errorf("count the items of %s: %w", key, err)
		}
	}
	return out, nil
}

var lengthOf = map[string]string{"list": "LLEN", "set": "SCARD", "zset": "ZCARD"}

func (do Do) length(ctx context.Context, key string) (int64, error) {
	kind, err := do(ctx, "TYPE", key)
	if err != nil {
		return 0, err
	}
	name, _ := kind.(string)
	if lengthOf[name] == "" {
		return 0, nil
	}
	n, err := do.number(ctx, lengthOf[name], key)
	return int64(n), err
}

// Dead returns up to n dead items of a key, the oldest first, from the given one on.
func Dead(ctx context.Context, do Do, key string, from, n int) ([]string, error) {
	items, err := do.items(ctx, key+script.DeadSuffix, from, from+n-1)
	if err != nil {
		return nil, fmt.Errorf("read the dead items of %s: %w", key, err)
	}
	return items, nil
}

// Retry puts dead items of a key at the end of its queue, and returns how many of them there
// were. Their deliveries are counted from the beginning.
func Retry(ctx context.Context, do Do, key string, items ...string) (int, error) {
	return do.bury(ctx, "retry", key, items)
}

// Drop forgets dead items of a key, and returns how many of them there were.
func Drop(ctx context.Context, do Do, key string, items ...string) (int, error) {
	return do.bury(ctx, "drop", key, items)
}

func (do Do) bury(ctx context.Context, how, key string, items []string) (moved int, err error) {
	keys := []string{key, key + script.DeadSuffix, script.Died}
	for len(items) > 0 {
		some := fitting(items)
		items = items[len(some):]
		n, err := do.run(ctx, script.Retry, keys, append([]string{how}, some...))
		switch {
		case err != nil:
			return moved, fmt.Errorf("%s dead items of %s: %w", how, key, err)
		case len(n) != 2:
			return moved, fmt.Errorf("%s dead items of %s: the engine's reply makes no sense", how, key)
		}
		moved += int(n[0])
		if n[1] > 0 {
			return moved, fmt.Errorf("%s dead items of %s: the key holds something else now: rename it", how, key)
		}
	}
	return moved, nil
}
