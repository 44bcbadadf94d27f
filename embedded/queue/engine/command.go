package engine

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

// Command is a command of Redis that works on data.
type Command struct {
	Name  string
	Arity int  // with the name; negative: at least
	Write bool // may change data
	Grows bool // may make the data larger: is refused when memory is full
	run   func(*Context)
}

// ArityOK reports whether a command may have n arguments, its name included.
func (c *Command) ArityOK(n int) bool {
	if c.Arity < 0 {
		return n >= -c.Arity
	}
	return n == c.Arity
}

// Block describes what a command waits for that found nothing.
type Block struct {
	Keys    []Key
	Timeout time.Duration // 0: for ever

	kind  kind
	serve func(c *Context, key string) bool // replies and reports true when key has something
	none  func(*resp.Writer)                // replies that nothing has and nobody waits
}

// Context is one command of a client while it runs.
type Context struct {
	Out   resp.Writer
	Block *Block // set by a command that found nothing and may wait
	Wait  bool   // whether it may: not in a transaction

	Unserved bool // the command was a script that is not known

	e       *Engine
	db      int
	args    []string // the name in upper case
	changed bool
	noted   bool
}

func (c *Context) begin(db int, args []string) {
	c.db, c.args, c.changed, c.noted = db, args, false, false
}

// Run runs a command, args[0] its name in upper case. The reply is appended to
// c.Out.
func (e *Engine) Run(c *Context, cmd *Command, db int, args []string) {
	c.e, c.Block, c.Unserved = e, nil, false
	c.begin(db, args)
	if cmd.Grows && e.Full() {
		c.Out.Error(errOOM)
		return
	}
	e.Tick()
	e.reading = !cmd.Write
	c.try(cmd.run)
	e.reading = false
	if c.changed && !c.noted {
		e.note(db, args...)
	}
}

// Serve gives a client that waits what now is at a key, and reports whether
// there was something.
func (e *Engine) Serve(c *Context, b *Block, key Key) bool {
	ent := e.lookup(key.DB, key.Name)
	if ent == nil || kindOf(ent.val) != b.kind {
		return false
	}
	c.e = e
	c.begin(key.DB, nil)
	served := true // by an error too
	c.try(func(c *Context) { served = b.serve(c, key.Name) })
	return served
}

// Errors of Redis that commands about clients have too.
const (
	ErrSyntax = "ERR syntax error"
	ErrNotInt = "ERR value is not an integer or out of range"
	// ErrPattern refuses a pattern that is longer than [argument.MaxPattern].
	ErrPattern = "ERR the pattern is longer than 1024 bytes"
)

const (
	errOOM       = "OOM command not allowed when used memory > 'maxmemory'."
	errNotFloat  = "ERR value is not a valid float"
	errRange     = "ERR value is out of range"
	errPositive  = "ERR value is out of range, must be positive"
	errWrongType = "WRONGTYPE Operation against a key holding the wrong kind of value"
	errNumKeys   = "ERR numkeys should be greater than 0"
	errCount     = "ERR count should be greater than 0"
	errNegLimit  = "ERR LIMIT can't be negative"
	errTooLong   = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
)

// failure is the panic of a command that has replied an error.
type failure struct{}

// fail replies an error and ends the command: it does not return.
func (c *Context) fail(msg string) {
	c.Out.Error(msg)
	panic(failure{})
}

// try runs a command until it ends or fails.
func (c *Context) try(run func(*Context)) {
	defer func() {
		if p := recover(); p != nil && p != any(failure{}) {
			panic(p)
		}
	}()
	run(c)
}

// failArity refuses the number of arguments.
func (c *Context) failArity() { c.fail(WrongArity(c.args[0])) }

func WrongArity(name string) string {
	return "ERR wrong number of arguments for '" + strings.ToLower(name) + "' command"
}

// touch says that a command changed a key, and by which events.
func (c *Context) touch(key string, events ...string) {
	c.changed = true
	c.e.touch(c.db, key)
	c.tell(key, events...)
}

// tell notes events for those who listen, as Redis names them, in any case.
func (c *Context) tell(key string, events ...string) {
	if !c.e.Notify || c.e.loading {
		return
	}
	for _, name := range events {
		if name == "HDEL" { // of hashes only their end is told
			continue
		}
		c.e.events = append(c.e.events, Event{Key{c.db, key}, lower(name)})
	}
}

// note says which commands make the change, in place of the command itself.
func (c *Context) note(args ...string) {
	c.noted = true
	c.e.note(c.db, args...)
}

// ErrLargeReply replaces a reply that there is no room for.
const ErrLargeReply = "OOM the reply does not fit into the queue's memory: ask for less at a time, or raise " +
	"queue.max_memory"

// checkReply fails unless there is room for a reply of so many items: what is taken out
// and not told would be lost.
func (c *Context) checkReply(n int, size func(i int) int) {
	const each = 48 // for lengths and a score
	total := len(c.Out.Buf)
	for i := 0; i < n && c.Out.Limit > 0; i++ {
		if total += each + size(i); total > c.Out.Limit {
			c.fail(ErrLargeReply)
		}
	}
}

// checkRoom refuses the command unless there is room for n more bytes.
func (c *Context) checkRoom(n int64) {
	if !c.e.loading && c.e.max > 0 && n > 0 && c.e.used+n > c.e.max {
		c.fail(errOOM)
	}
}

// is reports whether an argument is a word, in any case.
func is(arg, word string) bool { return strings.EqualFold(arg, word) }

type kind string

const (
	kindString kind = "string"
	kindList   kind = "list"
	kindSet    kind = "set"
	kindHash   kind = "hash"
	kindZset   kind = "zset"
)

func kindOf(v any) kind {
	switch v.(type) {
	case *list:
		return kindList
	case *set:
		return kindSet
	case *hash:
		return kindHash
	case *zset:
		return kindZset
	}
	return kindString
}

// find returns the value of a key, nil when there is none. It fails when the key
// holds something else.
func find[T value](c *Context, key string) (v T) {
	ent := c.e.lookup(c.db, key)
	if ent == nil {
		return v
	}
	v, ok := ent.val.(T)
	if !ok {
		c.fail(errWrongType)
	}
	return v
}

// edit is find for a value that will change.
func edit[T value](c *Context, key string) T {
	v := find[T](c, key)
	if c.e.dbs[c.db].keys.Get(key) != nil {
		c.e.keep(v)
	}
	return v
}

// counted is a value that knows how many items it has, none when it is nil.
type counted interface {
	value
	count() int
}

// replyLen replies how many items the value of the first key has.
func replyLen[T counted](c *Context) {
	c.Out.Int(find[T](c, c.args[1]).count())
}

// removable is a value whose items have names by which they are taken out.
type removable interface {
	counted
	remove(item string) bool
}

// removeItems implements HDEL, SREM and ZREM.
func removeItems[T removable](c *Context) {
	v, n := edit[T](c, c.args[1]), 0
	for _, item := range c.args[2:] {
		if v.count() > 0 && v.remove(item) {
			n++
		}
	}
	if n > 0 {
		c.finishChange(c.args[1], v.count(), c.args[0])
	}
	c.Out.Int(n)
}

// popCount reads how many items to pop, if that is said; msg refuses more arguments.
func (c *Context) popCount(msg string) (count int, said bool) {
	switch len(c.args) {
	case 2:
		return 1, false
	case 3:
		return c.bounded(c.args[2], 0, math.MaxInt64, errPositive), true
	}
	c.fail(msg)
	return 0, false
}

// add puts a new value under a key that has none.
func add[T value](c *Context, key string, v T) T {
	c.e.put(c.db, key, v)
	return v
}

// finishChange ends the change of a value, which event names: without items its key is
// removed.
func (c *Context) finishChange(key string, items int, event string) {
	c.tell(key, event)
	if items == 0 {
		c.e.remove(c.db, key)
		c.tell(key, "del")
	}
	c.touch(key)
}

var commands = map[string]*Command{}

// Lookup returns the command of a name in upper case, nil when it is not served.
func Lookup(name string) *Command { return commands[name] }

func Names() []string {
	return slices.Collect(maps.Keys(commands))
}

type flag int

const (
	reads  flag = iota
	writes      // never makes data larger by more than a few bytes
	grows
)

func register(name string, arity int, f flag, run func(*Context)) {
	commands[name] = &Command{
		Name:  name,
		Arity: arity,
		Write: f != reads,
		Grows: f == grows,
		run:   run,
	}
}

// integer reads an argument, or fails.
func (c *Context) integer(arg string) int64 {
	n, ok := argument.Int(arg)
	if !ok {
		c.fail(ErrNotInt)
	}
	return n
}

// bounded is integer for one that has bounds; msg says so.
func (c *Context) bounded(arg string, least, most int64, msg string) int {
	n, ok := argument.Int(arg)
	if !ok || n < least || n > most {
		c.fail(msg)
	}
	return int(n)
}

// addInts adds as INCRBY does, or fails.
func (c *Context) addInts(n, by int64) int64 {
	if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
		c.fail("ERR increment or decrement would overflow")
	}
	return n + by
}

func (c *Context) float(arg, msg string) float64 {
	f, ok := argument.Float(arg)
	if !ok {
		c.fail(msg)
	}
	return f
}

// addFloats adds two numbers as INCRBYFLOAT does; msg says that one is none.
func (c *Context) addFloats(a, b, msg string) string {
	x, ok := argument.Long(a)
	y, ok2 := argument.Long(b)
	switch {
	case !ok || !ok2:
		c.fail(msg)
	case x.IsInf() || y.IsInf():
		c.fail("ERR increment would produce NaN or Infinity")
	}
	sum := x.Add(x, y).Text('f', 17)
	if strings.Contains(sum, ".") {
		sum = strings.TrimRight(strings.TrimRight(sum, "0"), ".")
	}
	if sum == "-0" {
		return "0"
	}
	return sum
}

func lower(s string) string { return strings.ToLower(s) }

func upper(s string) string { return strings.ToUpper(s) }
