package engine

import (
	_ "embed"
	"math"
	"strings"

	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// The scripts of redis-py's Lock, the same in all its releases since 3.5, which
// Celery cannot do without. Their names are the SHA-1 of their text.
const (
	lockRelease   = "c3f8721cbb97f72bc19e972846bd7aaf91901658"
	lockExtend    = "a4e8783852e6b949f9ef3a97212805108459a890"
	lockReacquire = "1cac51482acf5858da00f6d685d68f886cd6b6b2"
)

// known are the scripts that are done without Lua, by their SHA-1: those of a lock and
// those of the leases.
var known = map[string]func(c *Context, keys, argv []string){
	lockRelease:       lock(lockRelease, 1),
	lockReacquire:     lock(lockReacquire, 2),
	lockExtend:        lock(lockExtend, 3),
	script.Take.SHA:   leaseTake,
	script.Settle.SHA: leaseSettle,
	script.Retry.SHA:  leaseRetry,
}

// Refused begins the error for a command that is not served; see [Refusal].
const Refused = " is not served by crawlbox's embedded queue; "

func init() {
	register("EVAL", -3, writes, eval)
	register("EVALSHA", -3, writes, eval)
	register("SCRIPT", -2, reads, scriptCommand)
}

func eval(c *Context) {
	sha := lower(c.args[1])
	if c.args[0] == "EVAL" {
		sha = script.SHA(c.args[1])
	}
	run := known[sha]
	if run == nil {
		c.Unserved = true
		c.fail(Refusal(c.args[0]))
	}
	keys := c.bounded(c.args[2], 1, math.MaxInt64, ErrNotInt)
	if keys > len(c.args)-3 {
		c.fail("ERR Number of keys can't be greater than number of args")
	}
	run(c, c.args[3:3+keys], c.args[3+keys:])
}

// lock does what the scripts of a lock do: if KEYS[1] holds ARGV[1], it releases
// the lock, or moves its deadline by or to ARGV[2] ms.
func lock(sha string, wants int) func(*Context, []string, []string) {
	return func(c *Context, keys, argv []string) {
		switch {
		case len(keys) > 1:
			c.fail(ErrNotInt)
		case len(argv) < wants:
			c.fail("ERR too few arguments for the script of a lock")
		}
		c.lock(sha, keys[0], argv)
	}
}

func (c *Context) lock(sha, key string, argv []string) {
	t, found := c.text(key)
	if !found || t.string() != argv[0] {
		c.Out.Int(0)
		return
	}
	if sha == lockRelease {
		c.e.remove(c.db, key)
		c.touch(key, "del")
		c.note("DEL", key)
		c.Out.Int(1)
		return
	}
	expires := c.e.lookup(c.db, key).expires
	if sha == lockExtend && expires == 0 {
		c.Out.Int(0)
		return
	}
	at := c.e.clock
	if sha == lockExtend && argv[2] == "0" {
		at = expires
	}
	by := c.float(argv[1], ErrNotInt)
	if math.Abs(by) > 1<<52 || at > math.MaxInt64-1<<52 {
		c.fail(ErrNotInt)
	}
	c.setDeadline(key, at+int64(by))
	c.Out.Int(1)
}

func scriptCommand(c *Context) {
	switch sub := c.args[1]; {
	case is(sub, "LOAD") && len(c.args) == 3 && known[script.SHA(c.args[2])] != nil:
		c.Out.Bulk(script.SHA(c.args[2]))
	case is(sub, "EXISTS") && len(c.args) > 2:
		c.Out.Array(len(c.args) - 2)
		for _, sha := range c.args[2:] {
			c.Out.Flag(known[lower(sha)] != nil)
		}
	case is(sub, "FLUSH"):
		c.Out.OK()
	default:
		c.Unserved = true
		c.fail(Refusal("SCRIPT"))
	}
}

//go:embed refused.txt
var refusals string

// refused says why a command of Redis is not served, and what to do, by its name.
var refused = func() map[string]string {
	reasons := map[string]string{}
	for line := range strings.Lines(refusals) {
		reason, names, _ := strings.Cut(line, " | ")
		for name := range strings.FieldsSeq(names) {
			reasons[name] = reason
		}
	}
	return reasons
}()

// Refusal returns the error for a command that is not served, "" when Redis has none
// of that name either.
func Refusal(name string) string {
	if reason, ok := refused[name]; ok {
		return "ERR " + name + Refused + reason
	}
	return ""
}
