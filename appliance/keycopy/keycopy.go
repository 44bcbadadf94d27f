// Package keycopy copies keys from one server of the Redis protocol to another: strings, lists,
// sets, sorted sets and hashes with plain commands that all of them have, since what DUMP writes is
// read by few other versions and by no other kind of server. What else a key can be goes as DUMP and
// RESTORE have it, where both servers know that.
//
// The source is only read. At the target a value grows, chunk by chunk, under a name of its own
// ("crawlbox:copy:…") that is deleted by itself some time after the last chunk; it gets the name of
// its key, and its deadline, when it is complete, in one step. So nobody meets half a value, whatever
// ends the copying.
//
// What changes while it is read: a value that fits into one chunk is read in one step. Lists and
// strings that do not are watched, and read again where they have changed, a few times, since
// what has moved would be missed. Sets, sorted sets and hashes are scanned: what is in them all the
// time is copied, what comes or goes meanwhile may be.
package keycopy

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// ownPrefix begins the names of keys that the queue keeps for itself; they are not copied.
const ownPrefix = "crawlbox:"

const (
	atOnce    = 8                // keys that are copied
	scanCount = 1000             // keys that are listed
	unused    = 10 * time.Minute // after which an unfinished value is deleted
	tidyTime  = 5 * time.Second  // for deleting it before
)

// Copy copies keys once. Its methods may be called at the same time.
type Copy struct {
	From, To *Server
	Match    string // a pattern of Redis; empty: all keys
	Replace  bool   // overwrite keys that the target has

	prefix            string // of names of unfinished values
	allKeys, allItems atomic.Int64
	keys, items, size atomic.Int64

	mu   sync.Mutex
	left Left
}

// Progress says how far a copy is. An item is an element, a member, a field, or a whole string.
type Progress struct {
	Keys     int64 `json:"keys"`
	Items    int64 `json:"items"`
	Bytes    int64 `json:"bytes"` // of the items
	AllKeys  int64 `json:"all_keys"`
	AllItems int64 `json:"all_items"` // when they were listed
}

// Left names the keys that were not copied, and why.
type Left struct {
	Own      int      `json:"own"`                // how many are the queue's own
	Unserved []string `json:"unserved,omitempty"` // the target has no such type
	Changed  []string `json:"changed,omitempty"`  // they changed each time while they were read
	Appeared []string `json:"appeared,omitempty"` // at the target, meanwhile
}

// ExistsError is the error of Run where the target has keys that would be overwritten. Nothing is
// changed then.
type ExistsError struct{ Keys []string }

func (e *ExistsError) Error() string { return fmt.Sprintf("%d keys are there already", len(e.Keys)) }

// Progress says how far it is now.
func (c *Copy) Progress() Progress {
	return Progress{
		Keys:     c.keys.Load(),
		Items:    c.items.Load(),
		Bytes:    c.size.Load(),
		AllKeys:  c.allKeys.Load(),
		AllItems: c.allItems.Load(),
	}
}

// Left says what was not copied.
func (c *Copy) Left() Left {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

// listed is a key of the source.
type listed struct {
	name string
	kind string
	size int64
}

// Run copies. When it fails, or ctx ends, the keys that Progress counts are complete, and the others
// are as they were.
func (c *Copy) Run(ctx context.Context) error {
	c.prefix = ownPrefix + "copy:" + rand.Text()[:8] + ":"
	if err := c.From.probe(ctx); err != nil {
		return err
	}
	if err := c.To.client.Ping(ctx).Err(); err != nil {
		return c.To.fault(err)
	}
	keys, err := c.list(ctx)
	if err != nil {
		return err
	}
	if err := c.refuseExisting(ctx, keys); err != nil {
		return err
	}
	work, all := errgroup.WithContext(ctx)
	work.SetLimit(atOnce)
	for _, k := range keys {
		if all.Err() != nil {
			break
		}
		work.Go(func() error { return c.copyKey(all, k) })
	}
	if err := work.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// list returns the keys to copy, the largest first, so that none of them is alone at the end.
func (c *Copy) list(ctx context.Context) ([]listed, error) {
	var keys []listed
	for cursor := uint64(0); ; {
		names, next, err := c.From.client.Scan(ctx, cursor, cmp.Or(c.Match, "*"), scanCount).Result()
		if err != nil {
			return nil, c.From.fault(err)
		}
		own := 0
		names = slices.DeleteFunc(names, func(name string) bool {
			isOwn := strings.HasPrefix(name, ownPrefix)
			if isOwn {
				own++
			}
			return isOwn
		})
		some, err := c.From.look(ctx, names)
		if err != nil {
			return nil, c.From.fault(err)
		}
		keys = append(keys, some...)
		c.mu.Lock()
		c.left.Own += own
		c.mu.Unlock()
		c.allKeys.Store(int64(len(keys)))
		if cursor = next; next == 0 {
			break
		}
	}
	// A scan may name a key twice.
	slices.SortFunc(keys, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	keys = slices.CompactFunc(keys, func(a, b listed) bool { return a.name == b.name })
	slices.SortStableFunc(keys, func(a, b listed) int { return cmp.Compare(b.size, a.size) })
	all := int64(0)
	for _, k := range keys {
		all += k.size
	}
	c.allKeys.Store(int64(len(keys)))
	c.allItems.Store(all)
	return keys, nil
}

// refuseExisting fails where a key would be overwritten that must not be.
func (c *Copy) refuseExisting(ctx context.Context, keys []listed) error {
	if c.Replace {
		return nil
	}
	var found []string
	for some := range slices.Chunk(keys, scanCount) {
		there := make([]*redis.IntCmd, len(some))
		_, err := c.To.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, k := range some {
				there[i] = p.Exists(ctx, k.name)
			}
			return nil
		})
		if err != nil {
			return c.To.fault(err)
		}
		for i, k := range some {
			if there[i].Val() > 0 {
				found = append(found, k.name)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return &ExistsError{found}
}

// note puts a key on a list of those that were not copied.
func (c *Copy) note(list *[]string, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*list = append(*list, key)
	slices.Sort(*list)
}
