package engine

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"math"
	"strings"
)

// The scripts of redis-py's Lock, the same in all its releases since 3.5, which
// Celery cannot do without. Their names are the SHA-1 of their text.
const (
	lockRelease   = "c3f8721cbb97f72bc19e972846bd7aaf91901658"
	lockExtend    = "a4e8783852e6b949f9ef3a97212805108459a890"
	lockReacquire = "1cac51482acf5858da00f6d685d68f886cd6b6b2"
)

// Refused begins the error for a command that is not served; see [Refusal].
const Refused = " is not served by crawlbox's embedded queue; "

func init() {
	register("EVAL", -3, writes, eval)
	register("EVALSHA", -3, writes, eval)
	register("SCRIPT", -2, reads, script)
}

func isLock(sha string) bool { return sha == lockRelease || sha == lockExtend || sha == lockReacquire }

func shaOf(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// eval does what the scripts of a lock do: if KEYS[1] holds ARGV[1], it releases
// the lock, or moves its deadline by or to ARGV[2] ms.
func eval(c *Context) {
	sha := lower(c.args[1])
	if c.args[0] == "EVAL" {
		sha = shaOf(c.args[1])
	}
	if !isLock(sha) {
		c.Unserved = true
		c.fail(Refusal(c.args[0]))
	}
	keys := c.bounded(c.args[2], 1, 1, ErrNotInt)
	if wants := map[string]int{lockRelease: 1, lockReacquire: 2, lockExtend: 3}[sha]; len(c.args)-3-keys < wants {
		c.fail("ERR too few arguments for the script of a lock")
	}
	key, argv := c.args[3], c.args[4:]
	t, found := c.text(key)
	if !found || t.string() != argv[0] {
		c.Out.Int(0)
		return
	}
	if sha == lockRelease {
		c.e.remove(c.db, key)
		c.touch(key)
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

func script(c *Context) {
	switch sub := c.args[1]; {
	case is(sub, "LOAD") && len(c.args) == 3 && isLock(shaOf(c.args[2])):
		c.Out.Bulk(shaOf(c.args[2]))
	case is(sub, "EXISTS") && len(c.args) > 2:
		c.Out.Array(len(c.args) - 2)
		for _, sha := range c.args[2:] {
			c.Out.Flag(isLock(lower(sha)))
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
