package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/control/problems"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/queueproc/leases"
	"github.com/crawlbox/crawlbox/configs"
)

// Queues answers api.Queues on the node that has the queue, or gets to what keeps the items by itself.
type Queues struct {
	Engine   string                 // the server that keeps the items, without user and password; empty: crawlbox does
	NodeName func(id string) string // for people; nil: as the ID
	Reach    func() (Reached, error)

	state func() queueproc.State
	url   url.URL
}

// Reached is how a node gets to the queue, for as long as one call takes.
type Reached struct {
	Client  *redis.Client
	Leases  *leases.Leases
	Address api.QueueAddress // that programs connect to
	// Replicated is set where crawlbox has a replica take the engine's place, which then has old items.
	Replicated bool
}

// NewQueues returns the queue of a config that client speaks to, and others at addr.
func NewQueues(c configs.Queue, client *redis.Client, state func() queueproc.State, addr string) *Queues {
	scheme := "redis"
	if c.TLS {
		scheme = "rediss"
	}
	// redis-cli takes an empty user for one of that name, so it is spelt out.
	q := &Queues{state: state, url: url.URL{
		Scheme: scheme,
		User:   url.UserPassword("default", client.Options().Password),
		Host:   addr,
	}}
	at := api.QueueAddress{URL: q.URL(), Addr: addr, Password: client.Options().Password}
	here := Reached{client, leases.New(c, client), at, c.Engine == configs.EngineValkey}
	q.Reach = func() (Reached, error) { return here, Runs(state()) }
	return q
}

func (q *Queues) nodeName(id string) string {
	if q.NodeName == nil || id == "" {
		return id
	}
	return q.NodeName(id)
}

// Addr returns where the queue is, as HOST:PORT.
func (q *Queues) Addr() string { return q.url.Host }

// URL returns what a program connects to, with the password.
func (q *Queues) URL() string { return q.url.String() }

func (q *Queues) Report(_ context.Context, st *api.Status, seen *problems.Seen) {
	is := q.state()
	seen.Queue, seen.QueueEngine = &is, q.Engine
	st.Queue = QueueRow(is, q.url.Host, q.Engine, st.Node)
}

// QueueRow returns what the status of a manager has of the queue at an address, by its process there: that which has
// the queue, or a front of it.
func QueueRow(is queueproc.State, addr, engine, home string) *api.Queue {
	row := &api.Queue{
		Addr:      addr,
		Home:      home,
		Engine:    engine,
		Serving:   is.Serving && is.Engine == "",
		Restarts:  is.Restarts,
		Keys:      is.Progress.Keys,
		Clients:   is.Progress.Clients,
		Memory:    is.Progress.Memory,
		MaxMemory: is.Progress.Bound,
	}
	for _, m := range is.Missing {
		row.Lacks = append(row.Lacks, m.String())
	}
	return row
}

// deadPatience is how long a status waits for what the queue has of dead items.
const deadPatience = 2 * time.Second

// DeadReport reports items of safe keys that came back too often. Where the queue can't be asked that is told anyway.
func DeadReport(of func() (*leases.Leases, error)) Report {
	return func(ctx context.Context, _ *api.Status, seen *problems.Seen) {
		l, err := of()
		if err != nil || !l.Any() {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, deadPatience)
		defer cancel()
		seen.QueueDead, _ = l.Dead(ctx)
	}
}

// Runs returns why a process of the queue, or of a front, gets to no items; nil: it does.
func Runs(is queueproc.State) error {
	if is.Problem != "" {
		return api.Conflict("the queue does not run: %s", is.Problem)
	}
	if is.Engine != "" {
		return api.Conflict("%s", is.Engine)
	}
	return nil
}

// stalePatience is for how long an engine may take no writes before it may be that another has taken its place: its
// replica was lost, or it is about to hand over.
const stalePatience = 3 * time.Second

// current returns how the node gets to the queue, for who reads it: an error where what there is may be old, as on a
// manager that is cut off from the others with the Valkey that had the queue. Writes that one refuses by itself.
func (q *Queues) current(ctx context.Context) (Reached, error) {
	at, err := q.Reach()
	if err != nil || !at.Replicated {
		return at, err
	}
	for until := time.Now().Add(stalePatience); ; {
		said, err := at.Client.Info(ctx, "replication").Result()
		if err != nil {
			return at, queueError("read", "*", err)
		}
		if takesWrites(said) {
			return at, nil
		}
		if time.Now().After(until) {
			return at, api.Conflict("the Valkey that this manager gets to takes no writes: it has no replica now, " +
				"and another may have the queue, so what it has may be old; run the command on another manager, or " +
				"see `crawlbox status`")
		}
		if err := clock.Sleep(ctx, stalePatience/20); err != nil {
			return at, err
		}
	}
}

// takesWrites reports whether an engine does, by what INFO says of its replication: one is a primary, with a replica
// where it wants one.
func takesWrites(info string) bool {
	for line := range strings.Lines(info) {
		switch strings.TrimSpace(line) {
		case "role:slave", "min_slaves_good_slaves:0":
			return false
		}
	}
	return true
}

func (q *Queues) QueueAddress(context.Context) (api.QueueAddress, error) {
	at, err := q.Reach()
	return at.Address, err
}

func (q *Queues) QueueLen(ctx context.Context, key string) ([]api.Items, error) {
	at, err := q.current(ctx)
	if err != nil {
		return nil, err
	}
	if key != "" {
		is, err := size(ctx, at.Client, key)
		if err != nil {
			return nil, err
		}
		list := []api.Items{is}
		return list, queueError("read", key, at.countLeases(ctx, list))
	}
	keys, err := someKeys(ctx, at.Client)
	if err != nil {
		return nil, queueError("list", "*", err)
	}
	if keys, err = at.withLeased(ctx, keys); err != nil {
		return nil, queueError("read", "*", err)
	}
	list, err := sizes(ctx, at.Client, keys)
	if err == nil {
		err = at.countLeases(ctx, list)
	}
	gone := func(is api.Items) bool { // meanwhile
		return is.Type == "" && (is.Dead == nil || *is.Dead == 0 && (is.InFlight == nil || *is.InFlight == 0))
	}
	return slices.DeleteFunc(list, gone), queueError("read", "*", err)
}

// withLeased returns keys without those that the leases are in, and with those whose items are all held or dead.
func (r Reached) withLeased(ctx context.Context, keys []string) ([]string, error) {
	held, err := r.inFlight(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]struct{}{}
	for key := range held {
		all[key] = struct{}{}
	}
	for _, key := range keys {
		if r.Leases.Own(key) {
			if key = strings.TrimSuffix(key, leases.DeadOf("")); !r.Leases.Of(key) {
				continue
			}
		}
		all[key] = struct{}{}
	}
	keys = slices.Sorted(maps.Keys(all))
	return keys[:min(api.MaxKeys, len(keys))], nil
}

// inFlight returns how many items of each key consumers hold, nil where there are too many to count them or no key is
// safe.
func (r Reached) inFlight(ctx context.Context) (map[string]int64, error) {
	if !r.Leases.Any() {
		return nil, nil
	}
	held, err := r.Leases.InFlight(ctx)
	if errors.Is(err, leases.ErrTooMuch) {
		return nil, nil
	}
	return held, err
}

// countLeases says of keys that are safe how many of their items are held, and how many are dead.
func (r Reached) countLeases(ctx context.Context, list []api.Items) error {
	held, err := r.inFlight(ctx)
	if err != nil {
		return err
	}
	var dead []string
	var of []*api.Items
	for i := range list {
		if is := &list[i]; r.Leases.Of(is.Key) {
			dead, of = append(dead, leases.DeadOf(is.Key)), append(of, is)
		}
	}
	there, err := sizes(ctx, r.Client, dead)
	if err != nil {
		return err
	}
	for i, is := range of {
		is.Dead = &there[i].Len
		is.InFlight = heldOf(held, is.Key)
	}
	return nil
}

func heldOf(held map[string]int64, key string) *int64 {
	if held == nil {
		return nil
	}
	n := held[key]
	return &n
}

// someKeys returns keys of the queue, sorted.
func someKeys(ctx context.Context, c *redis.Client) ([]string, error) {
	var keys []string
	it := c.Scan(ctx, 0, "*", api.MaxKeys).Iterator()
	for len(keys) < api.MaxKeys && it.Next(ctx) {
		keys = append(keys, it.Val())
	}
	slices.Sort(keys)
	return slices.Compact(keys), it.Err()
}

// maxLooked is how many keys are looked at for those that have most items.
const maxLooked = 100_000

func (q *Queues) QueueFlow(ctx context.Context, keys []string, most int) (v api.QueueFlow, err error) {
	at, err := q.current(ctx)
	if err != nil {
		return v, err
	}
	var list []api.Items
	if len(keys) > 0 {
		list, err = sizes(ctx, at.Client, keys)
	} else {
		list, v.More, v.Cut, err = deepest(ctx, at.Client, most, at.Leases.Own)
	}
	held := map[string]int64(nil)
	if err == nil {
		held, err = at.inFlight(ctx)
	}
	if err != nil {
		return v, queueError("read", "*", err)
	}
	if len(keys) == 0 {
		list = append(list, onlyHeld(list, held, most)...)
	}
	v.Keys = make([]api.KeyFlow, len(list))
	ask := []any{"CRAWLBOX.FLOW"}
	for i, is := range list {
		v.Keys[i] = api.KeyFlow{Key: is.Key, Type: is.Type, Len: is.Len}
		if at.Leases.Of(is.Key) {
			v.Keys[i].InFlight = heldOf(held, is.Key)
		}
		ask = append(ask, is.Key)
	}
	if len(list) > 0 {
		counts, err := at.Client.Do(ctx, ask...).Int64Slice()
		var refused redis.Error
		if err != nil && !errors.As(err, &refused) {
			return v, queueError("read", "*", err)
		}
		if v.Counted = err == nil && len(counts) == 2*len(list); v.Counted {
			for i := range v.Keys {
				v.Keys[i].In, v.Keys[i].Out = counts[2*i], counts[2*i+1]
			}
		}
	}
	v.At = time.Now()
	return v, nil
}

// onlyHeld returns keys that are not in a list and whose items may all be held, as many as it has room for.
func onlyHeld(list []api.Items, held map[string]int64, most int) (others []api.Items) {
	for _, key := range slices.Sorted(maps.Keys(held)) {
		if len(list)+len(others) >= most {
			break
		}
		if !slices.ContainsFunc(list, func(is api.Items) bool { return is.Key == key }) {
			others = append(others, api.Items{Key: key})
		}
	}
	return others
}

// deepest returns the keys that have most items, the first ones having more, how many more keys there
// are, and whether not all were looked at. Strings are none that anybody works off, nor are own keys.
func deepest(ctx context.Context, c *redis.Client, most int, own func(key string) bool) (
	top []api.Items, more int, cut bool, err error,
) {
	looked := 0
	for cursor := uint64(0); ; {
		var names []string
		names, cursor, err = c.Scan(ctx, cursor, "*", api.MaxKeys).Result()
		if err != nil {
			return nil, 0, false, err
		}
		looked += len(names)
		names = slices.DeleteFunc(names, own)
		some, err := sizes(ctx, c, names)
		if err != nil {
			return nil, 0, false, err
		}
		some = slices.DeleteFunc(some, func(is api.Items) bool { return is.Type == "" || is.Type == "string" })
		more += len(some)
		top = append(top, some...)
		slices.SortFunc(top, func(a, b api.Items) int {
			return cmp.Or(cmp.Compare(b.Len, a.Len), strings.Compare(a.Key, b.Key))
		})
		// A scan may name a key twice.
		top = slices.CompactFunc(top, func(a, b api.Items) bool { return a.Key == b.Key })
		top = top[:min(most, len(top))]
		if cut = looked >= maxLooked && cursor != 0; cut || cursor == 0 {
			return top, more - len(top), cut, nil
		}
	}
}

// counters count what a key of a type holds.
var counters = map[string]func(redis.Pipeliner, context.Context, string) *redis.IntCmd{
	"list":   redis.Pipeliner.LLen,
	"set":    redis.Pipeliner.SCard,
	"zset":   redis.Pipeliner.ZCard,
	"hash":   redis.Pipeliner.HLen,
	"stream": redis.Pipeliner.XLen,
	"string": func(p redis.Pipeliner, ctx context.Context, key string) *redis.IntCmd { return p.Exists(ctx, key) },
}

// sizes returns what keys are and how much they hold, in two questions. A key that becomes
// another meanwhile counts as empty.
func sizes(ctx context.Context, c *redis.Client, keys []string) ([]api.Items, error) {
	if len(keys) == 0 {
		return []api.Items{}, nil
	}
	types := make([]*redis.StatusCmd, len(keys))
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			types[i] = p.Type(ctx, key)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	counts := map[int]*redis.IntCmd{}
	_, err = c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			if count := counters[types[i].Val()]; count != nil {
				counts[i] = count(p, ctx, key)
			}
		}
		return nil
	})
	if err != nil && !strings.HasPrefix(err.Error(), "WRONGTYPE") {
		return nil, err
	}
	list := make([]api.Items, len(keys))
	for i, key := range keys {
		list[i] = api.Items{Key: key, Type: strings.TrimPrefix(types[i].Val(), "none")}
		if n := counts[i]; n != nil {
			list[i].Len = n.Val()
		}
	}
	return list, nil
}

func size(ctx context.Context, c *redis.Client, key string) (api.Items, error) {
	list, err := sizes(ctx, c, []string{key})
	if err != nil {
		return api.Items{Key: key}, queueError("read", key, err)
	}
	return list[0], nil
}

func (q *Queues) QueuePeek(ctx context.Context, key string, n int) (api.Items, error) {
	at, err := q.current(ctx)
	if err != nil {
		return api.Items{}, err
	}
	if n < 1 {
		return api.Items{}, api.Invalid("%d items can't be shown; ask for 1 or more", n)
	}
	is, err := size(ctx, at.Client, key)
	if err == nil {
		err = queueError("read", key, peek(ctx, at.Client, &is, n))
	}
	return is, err
}

// maxPeekValue bounds what is shown of a string, in bytes.
const maxPeekValue = 64 << 10

// peek reads the first n items of a key: of a sorted set those of the lowest scores, which are
// taken first.
func peek(ctx context.Context, c *redis.Client, is *api.Items, n int) (err error) {
	switch last := int64(n) - 1; is.Type {
	case "list":
		is.Items, err = c.LRange(ctx, is.Key, 0, last).Result()
	case "set":
		is.Items, err = scanned(n, func(cursor uint64) ([]string, uint64, error) {
			return c.SScan(ctx, is.Key, cursor, "", int64(n)).Result()
		})
	case "zset":
		var members []redis.Z
		members, err = c.ZRangeWithScores(ctx, is.Key, 0, last).Result()
		for _, m := range members {
			is.Items, is.Scores = append(is.Items, fmt.Sprint(m.Member)), append(is.Scores, m.Score)
		}
	case "hash":
		var fields []string // and their values
		fields, err = scanned(2*n, func(cursor uint64) ([]string, uint64, error) {
			return c.HScan(ctx, is.Key, cursor, "", int64(n)).Result()
		})
		for pair := range slices.Chunk(fields, 2) {
			is.Items, is.Values = append(is.Items, pair[0]), append(is.Values, pair[1])
		}
	case "string":
		var value string
		value, err = c.GetRange(ctx, is.Key, 0, maxPeekValue-1).Result()
		is.Items = []string{value}
	}
	return err
}

// scanned returns the first n texts that a scan gives.
func scanned(n int, scan func(cursor uint64) ([]string, uint64, error)) (all []string, err error) {
	cursor := uint64(0)
	for len(all) < n {
		var some []string
		if some, cursor, err = scan(cursor); err != nil || cursor == 0 {
			all = append(all, some...)
			break
		}
		all = append(all, some...)
	}
	return all[:min(n, len(all))], err
}

func (q *Queues) QueuePush(ctx context.Context, key string, items []string) (api.Items, error) {
	at, err := q.Reach()
	if err != nil {
		return api.Items{}, err
	}
	if key == "" || len(items) == 0 {
		return api.Items{}, api.Invalid("nothing to push; name a key and items, or give items on standard input with -")
	}
	n, err := at.Client.RPush(ctx, key, items).Result()
	return api.Items{Key: key, Len: n}, queueError("write", key, err)
}

func (q *Queues) QueueClear(ctx context.Context, key string) (api.Items, error) {
	at, err := q.Reach()
	if err != nil {
		return api.Items{}, err
	}
	is, err := size(ctx, at.Client, key)
	if err == nil {
		err = queueError("clear", key, at.Client.Del(ctx, key).Err())
	}
	return is, err
}

func (q *Queues) QueueInFlight(ctx context.Context, key string, n int) (v api.InFlight, err error) {
	at, err := q.current(ctx)
	if err != nil {
		return v, err
	}
	list, more, err := at.Leases.List(ctx, key, n)
	v.Items, v.More = make([]api.HeldItem, len(list)), more
	for i, is := range list {
		v.Items[i] = api.HeldItem{
			Key: is.Key, Item: is.Item[:min(len(is.Item), api.MaxHeldItem)], Cut: len(is.Item) > api.MaxHeldItem,
			Container: is.Container, Task: is.Name, Node: q.nodeName(is.Node), Since: is.Since,
		}
	}
	if err == nil && len(list) == 0 && !more {
		err = at.unsafe(key)
	}
	return v, queueError("read", cmp.Or(key, "*"), err)
}

// unsafe returns why nothing can be known of who holds items of a key, or of any where it is empty; nil: it can.
func (r Reached) unsafe(key string) error {
	switch {
	case !r.Leases.Any():
		return api.Invalid("no key is safe, so nobody knows who holds items, and none dies; name keys in queue.safe " +
			"of the config, see `crawlbox help queue`")
	case key != "" && !r.Leases.Of(key):
		return api.Invalid("%s is not safe, so nobody knows who holds its items, and none dies; safe are %s: "+
			"queue.safe in the config", key, words.Some(r.Leases.Safe(), maxNames))
	}
	return nil
}

func (q *Queues) QueueDead(ctx context.Context, key string, n int) ([]api.Items, error) {
	at, err := q.current(ctx)
	if err != nil {
		return nil, err
	}
	keys := []string{key}
	if key == "" {
		if keys, _, err = at.Leases.DeadKeys(ctx, n); err != nil {
			return nil, queueError("read", "*", err)
		}
	}
	lists := make([]string, len(keys))
	for i, key := range keys {
		lists[i] = leases.DeadOf(key)
	}
	dead, err := sizes(ctx, at.Client, lists)
	if err == nil && key != "" {
		err = peek(ctx, at.Client, &dead[0], n)
	}
	for i := range dead {
		dead[i].Key = keys[i]
	}
	dead = slices.DeleteFunc(dead, func(is api.Items) bool { return is.Len == 0 })
	if err == nil && len(dead) == 0 {
		err = at.unsafe(key)
	}
	return dead, queueError("read", cmp.Or(key, "*"), err)
}

func (q *Queues) QueueRetry(ctx context.Context, dead api.Items) (api.Items, error) {
	return q.bury(ctx, "retry dead items of", (*leases.Leases).Retry, dead)
}

func (q *Queues) QueueDrop(ctx context.Context, dead api.Items) (api.Items, error) {
	return q.bury(ctx, "drop dead items of", (*leases.Leases).Drop, dead)
}

func (q *Queues) bury(ctx context.Context, verb string,
	move func(of *leases.Leases, ctx context.Context, key string, items []string) (int, error), dead api.Items,
) (api.Items, error) {
	at, err := q.Reach()
	if err != nil {
		return api.Items{}, err
	}
	n, err := move(at.Leases, ctx, dead.Key, dead.Items)
	if err != nil && n > 0 {
		err = fmt.Errorf("%w (%s done before)", err, words.Count(n, "item"))
	}
	return api.Items{Key: dead.Key, Len: int64(n)}, queueError(verb, dead.Key, err)
}

func queueError(verb, key string, err error) error {
	var said *api.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.As(err, &said):
		return err
	case verb == "write" && strings.HasPrefix(err.Error(), "WRONGTYPE"):
		return api.Invalid("%s is not a list, and a push appends to lists; `crawlbox queue len` shows what it is", key)
	}
	if strings.HasPrefix(err.Error(), "OOM ") {
		return api.Conflict("%s queue %s: the queue is full: take items out, or raise queue.max_memory and start "+
			"crawlbox again, or maxmemory of a Redis of your own", verb, key)
	}
	return &api.Error{Code: api.CodeFailed, Message: fmt.Sprintf("%s queue %s: %s", verb, key, err)}
}
