package keycopy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Chunks: how many items the first one has that is read, how many one has at the most that is
// written, and how many bytes that is to have. Of what changed while it was read, larger ones are
// read, those of the last attempt have bytes<<(growth*(attempts-1)).
const (
	firstItems = 64
	mostItems  = 10_000
	chunkBytes = 1 << 20
	growth     = 2
	attempts   = 3
)

// kind says how a value of a type is read and written in chunks.
type kind struct {
	size    string // the command that counts its items; empty: it is one
	write   string // the command that adds some
	width   int    // arguments of an item
	scanned bool   // what is in it all the time is found whatever else changes
	// read reads a chunk of about so many items, or bytes of a string, that begins at a position,
	// and returns the next one; 0: that was all.
	read func(ctx context.Context, p redis.Cmdable, key string, at uint64, items, bytes int) reading
}

// reading is a chunk that was asked for.
type reading func() (args []string, next uint64, err error)

var plainKinds = map[string]*kind{
	"string": {
		write: "APPEND",
		width: 1,
		read: func(ctx context.Context, p redis.Cmdable, key string, at uint64, _, bytes int) reading {
			cmd := p.GetRange(ctx, key, int64(at), int64(at)+int64(bytes)-1)
			return func() ([]string, uint64, error) {
				if len(cmd.Val()) < bytes {
					return []string{cmd.Val()}, 0, cmd.Err()
				}
				return []string{cmd.Val()}, at + uint64(bytes), cmd.Err()
			}
		},
	},
	"list": {
		size:  "LLEN",
		write: "RPUSH",
		width: 1,
		read: func(ctx context.Context, p redis.Cmdable, key string, at uint64, items, _ int) reading {
			cmd := p.LRange(ctx, key, int64(at), int64(at)+int64(items)-1)
			return func() ([]string, uint64, error) {
				if len(cmd.Val()) < items {
					return cmd.Val(), 0, cmd.Err()
				}
				return cmd.Val(), at + uint64(items), cmd.Err()
			}
		},
	},
	"set": {
		size:    "SCARD",
		write:   "SADD",
		width:   1,
		scanned: true,
		read: func(ctx context.Context, p redis.Cmdable, key string, at uint64, items, _ int) reading {
			return p.SScan(ctx, key, at, "", int64(items)).Result
		},
	},
	"zset": {
		size:    "ZCARD",
		write:   "ZADD",
		width:   2,
		scanned: true,
		read: func(ctx context.Context, p redis.Cmdable, key string, at uint64, items, _ int) reading {
			cmd := p.ZScan(ctx, key, at, "", int64(items))
			return func() ([]string, uint64, error) {
				members, next, err := cmd.Result()
				for i := 0; i+1 < len(members); i += 2 { // ZADD has the score first
					members[i], members[i+1] = members[i+1], members[i]
				}
				return members, next, err
			}
		},
	},
	"hash": {
		size:    "HLEN",
		write:   "HSET",
		width:   2,
		scanned: true,
		read: func(ctx context.Context, p redis.Cmdable, key string, at uint64, items, _ int) reading {
			return p.HScan(ctx, key, at, "", int64(items)).Result
		},
	},
}

var (
	errChanged  = errors.New("it changed while it was read")
	errUnserved = errors.New("the target has no such type")
	errAppeared = errors.New("it is at the target by now")
	errOdd      = errors.New("it sends an item without its score or value")
	errLate     = errors.New("a chunk took so long that the unfinished value was deleted; run it again")
)

// value is one value on its way.
type value struct {
	*Copy
	listed
	temp   string // its name until it is complete
	begun  bool   // something is under that name
	items  int64  // that were counted
	bytes  int64
	growth int // how much larger a chunk is that is read, as a power of two
	first  int // items of the first one
}

// copyKey copies a key, in several attempts where it changes meanwhile.
func (c *Copy) copyKey(ctx context.Context, k listed) error {
	var items, bytes int64 // of the attempt before
	for attempt := range attempts {
		v := &value{Copy: c, listed: k, temp: c.prefix + k.name, growth: growth * attempt, first: firstItems}
		if items > 0 {
			v.first = v.fitting(items, bytes)
		}
		err := v.copy(ctx)
		if err == nil {
			return nil
		}
		items, bytes = v.items, v.bytes
		v.forget(ctx)
		switch {
		case errors.Is(err, errUnserved):
			c.note(&c.left.Unserved, fmt.Sprintf("%s (%s)", k.name, k.kind))
			return nil
		case errors.Is(err, errAppeared):
			c.note(&c.left.Appeared, k.name)
			return nil
		case !errors.Is(err, errChanged):
			return fmt.Errorf("copy %s: %w", k.name, err)
		}
		again, err := c.From.look(ctx, []string{k.name})
		if err != nil {
			return c.From.fault(err)
		}
		if len(again) == 0 {
			return nil // it is gone
		}
		k = again[0]
	}
	c.note(&c.left.Changed, k.name)
	return nil
}

// fitting returns how many items a chunk has that is read, by the bytes that some have.
func (v *value) fitting(items, bytes int64) int {
	fit := chunkBytes << v.growth / max(1, bytes/max(1, items))
	return int(max(1, min(fit, mostItems<<v.growth)))
}

// forget takes back what an attempt has counted and written.
func (v *value) forget(ctx context.Context) {
	v.Copy.items.Add(-v.items)
	v.Copy.size.Add(-v.bytes)
	v.items, v.bytes = 0, 0
	if !v.begun {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
	defer cancel()
	_ = v.To.client.Unlink(ctx, v.temp).Err() // else it is deleted by itself
}

func (v *value) copy(ctx context.Context) error {
	k := plainKinds[v.kind]
	if k == nil {
		return v.whole(ctx)
	}
	var first reading
	var until *deadline
	_, err := v.From.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		first = k.read(ctx, p, v.name, 0, v.first, chunkBytes<<v.growth)
		until = v.From.deadline(ctx, p, v.name)
		return nil
	})
	if err != nil {
		return v.readFault(err)
	}
	args, next, err := first()
	switch {
	case err != nil:
		return v.readFault(err)
	case len(args)%k.width != 0:
		return v.From.fault(errOdd)
	case next == 0 && len(args) <= mostItems && size(args) <= chunkBytes:
		return v.done(ctx, v.counted(k, args), until)
	case next == 0:
		if err := v.write(ctx, k, args); err != nil {
			return err
		}
		return v.done(ctx, nil, until)
	case k.scanned:
		return v.rest(ctx, v.From.client, k, args, next)
	}
	return v.From.client.Watch(ctx, func(tx *redis.Tx) error { return v.rest(ctx, tx, k, nil, 0) }, v.name)
}

// source is what a value is read from in chunks: a client, or a connection that watches it.
type source interface {
	redis.Cmdable
	Pipelined(context.Context, func(redis.Pipeliner) error) ([]redis.Cmder, error)
}

// rest writes the first chunk, where it was read, and copies those after it. What is not scanned is
// read over a connection that watches it.
func (v *value) rest(ctx context.Context, from source, k *kind, args []string, at uint64) error {
	items := v.first
	for read := len(args) > 0; !read || at != 0; read = true {
		if err := v.write(ctx, k, args); err != nil {
			return err
		}
		var err error
		if args, at, err = k.read(ctx, from, v.name, at, items, chunkBytes<<v.growth)(); err != nil {
			return v.readFault(err)
		}
		if len(args)%k.width != 0 {
			return v.From.fault(errOdd)
		}
		items = min(4*items, v.fitting(int64(len(args)/k.width), int64(size(args))))
	}
	if err := v.write(ctx, k, args); err != nil {
		return err
	}
	ask := from.TxPipelined
	if k.scanned {
		ask = from.Pipelined
	}
	var until *deadline
	_, err := ask(ctx, func(p redis.Pipeliner) error {
		until = v.From.deadline(ctx, p, v.name)
		return nil
	})
	if err != nil {
		return v.readFault(err)
	}
	return v.done(ctx, nil, until)
}

func size(args []string) (n int) {
	for _, arg := range args {
		n += len(arg)
	}
	return n
}

// readFault returns the error of a question to the source: an answer for another type says that
// the key is another one by now.
func (v *value) readFault(err error) error {
	if errors.Is(err, redis.TxFailedErr) || strings.HasPrefix(said(err), "WRONGTYPE") {
		return errChanged
	}
	return v.From.fault(err)
}

// counted counts a chunk, and returns the command that writes it, nil where it is empty: a scan may
// find nothing for a while.
func (v *value) counted(k *kind, args []string) []any {
	if len(args) == 0 {
		return nil
	}
	items := int64(len(args) / k.width)
	if k.size == "" && v.items > 0 { // more of the one item
		items = 0
	}
	bytes := int64(size(args))
	v.items, v.bytes = v.items+items, v.bytes+bytes
	v.Copy.items.Add(items)
	v.Copy.size.Add(bytes)
	cmd := make([]any, 0, 2+len(args))
	cmd = append(cmd, k.write, v.temp)
	for _, arg := range args {
		cmd = append(cmd, arg)
	}
	return cmd
}

// write writes what was read of a value that is not complete, in chunks that any server takes.
func (v *value) write(ctx context.Context, k *kind, args []string) error {
	for len(args) > 0 {
		n, bytes := 0, 0
		for n < len(args) && n < mostItems && (n == 0 || bytes+size(args[n:n+k.width]) <= chunkBytes) {
			bytes += size(args[n : n+k.width])
			n += k.width
		}
		some := args[:n:n]
		args = args[n:]
		if whole := some[0]; k.size == "" && len(whole) > chunkBytes {
			some, args = []string{whole[:chunkBytes]}, []string{whole[chunkBytes:]}
		}
		if err := v.add(ctx, v.counted(k, some)); err != nil {
			return err
		}
	}
	return nil
}

// add writes a chunk, and puts off when the unfinished value is deleted.
func (v *value) add(ctx context.Context, chunk []any) error {
	var there *redis.BoolCmd
	begun := v.begun
	v.begun = true
	cmds, err := v.To.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		if begun {
			there = p.PExpire(ctx, v.temp, unused)
		}
		p.Do(ctx, chunk...)
		if !begun {
			there = p.PExpire(ctx, v.temp, unused)
		}
		return nil
	})
	switch {
	case err != nil:
		return v.To.fault(cause(cmds, err))
	case !there.Val():
		return errLate
	}
	return nil
}

// cause returns the first error of commands that were sent together, and not that of the transaction
// that failed for it.
func cause(cmds []redis.Cmder, err error) error {
	for _, cmd := range cmds {
		if e := cmd.Err(); e != nil && !strings.HasPrefix(e.Error(), "EXECABORT") {
			return e
		}
	}
	return err
}

// done writes the last chunk, where there is one, and makes the unfinished value that of its key.
func (v *value) done(ctx context.Context, last []any, until *deadline) error {
	if until.gone() {
		v.forget(ctx)
		return nil
	}
	var named *redis.BoolCmd
	var set *redis.Cmd
	cmds, err := v.To.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		if last != nil {
			p.Do(ctx, last...)
		}
		set = until.set(ctx, p, v.temp)
		if v.Replace {
			p.Rename(ctx, v.temp, v.name)
			return nil
		}
		named = p.RenameNX(ctx, v.temp, v.name)
		p.Unlink(ctx, v.temp)
		return nil
	})
	switch err = cause(cmds, err); {
	case said(err) == "ERR no such key" && !until.none() && set.Val() == int64(1):
		// Its deadline has passed.
	case said(err) == "ERR no such key":
		return errLate
	case err != nil:
		return v.To.fault(err)
	case named != nil && !named.Val():
		return errAppeared
	}
	v.Copy.keys.Add(1)
	return nil
}

// whole copies a value of a type that only its own kind of server knows.
func (v *value) whole(ctx context.Context) error {
	var dump *redis.StringCmd
	var until *deadline
	cmds, err := v.From.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		dump = p.Dump(ctx, v.name)
		until = v.From.deadline(ctx, p, v.name)
		return nil
	})
	err = cause(cmds, err)
	switch {
	case errors.Is(err, redis.Nil):
		return nil // it is gone
	case strings.HasPrefix(said(err), "ERR"):
		return errUnserved
	case err != nil:
		return v.From.fault(err)
	}
	v.items, v.bytes = 1, int64(len(dump.Val()))
	v.Copy.items.Add(1)
	v.Copy.size.Add(v.bytes)
	err = v.done(ctx, []any{"RESTORE", v.temp, 0, dump.Val()}, until)
	if strings.HasPrefix(said(err), "ERR") {
		return errUnserved
	}
	return err
}

// deadline is when a key is deleted, as the source tells it: in Unix time, or after how long.
type deadline struct {
	told  *redis.Cmd
	after bool
}

func (s *Server) deadline(ctx context.Context, p redis.Pipeliner, key string) *deadline {
	if s.oldDeadlines {
		return &deadline{p.Do(ctx, "PTTL", key), true}
	}
	return &deadline{p.Do(ctx, "PEXPIRETIME", key), false}
}

// gone reports whether there is no such key, none whether it has no deadline.
func (d *deadline) gone() bool { return d.told.Val() == int64(-2) }
func (d *deadline) none() bool { return d.told.Val() == int64(-1) }

func (d *deadline) set(ctx context.Context, p redis.Pipeliner, key string) *redis.Cmd {
	switch {
	case d.none():
		return p.Do(ctx, "PERSIST", key)
	case d.after:
		return p.Do(ctx, "PEXPIRE", key, d.told.Val())
	}
	return p.Do(ctx, "PEXPIREAT", key, d.told.Val())
}
