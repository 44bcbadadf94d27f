package queue

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// compareSteps in the environment is how much is generated in one run of a test.
const compareSteps = "QUEUE_COMPARE_STEPS"

// TestCompare_Generated sends random commands on few keys, so that types collide,
// and compares all data from time to time.
func TestCompare_Generated(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	steps := int(envNumber(t, compareSteps, 4000))
	for _, proto := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", proto), func(t *testing.T) {
			t.Parallel()
			c := newComparison(t, startCompared(t), proto)
			c.begin(scriptFixture)
			g := generator{rand.New(rand.NewPCG(seed, uint64(proto)))}
			for step := 1; step <= steps && !t.Failed(); step++ {
				c.at = fmt.Sprintf("%s=%d step %d", testenv.SeedVariable, seed, step)
				g.step(c)
				if step%200 == 0 {
					c.compareAll()
				}
			}
		})
	}
}

func envNumber(t testing.TB, name string, otherwise int64) int64 {
	t.Helper()
	text := cmp.Or(os.Getenv(name), strconv.FormatInt(otherwise, 10))
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

type generator struct{ *rand.Rand }

// step does one command or one transaction.
func (g generator) step(c *comparison) {
	c.Helper()
	client := c.client("a")
	switch n := g.IntN(1000); {
	case n < 40:
		g.transaction(c)
	case n < 43:
		client.exchange(c, g.pick("FLUSHALL", "FLUSHDB", "PING", "DISCARD", "EXEC", "nonsense"))
	case n < 45:
		c.begin(scriptFixture)
	default:
		client.exchange(c, g.command(false)...)
	}
}

// transaction may be watched, disturbed, spoilt and discarded.
func (g generator) transaction(c *comparison) {
	c.Helper()
	client, other := c.client("a"), c.client("b")
	if g.IntN(2) == 0 {
		client.exchange(c, "WATCH", g.key(), g.key())
	}
	for range g.IntN(3) {
		other.exchange(c, g.command(false)...)
	}
	client.exchange(c, "MULTI")
	for range g.IntN(6) {
		client.exchange(c, g.command(true)...)
	}
	if g.IntN(10) == 0 {
		other.exchange(c, g.command(false)...)
	}
	client.exchange(c, g.pick("EXEC", "EXEC", "EXEC", "EXEC", "DISCARD"))
}

// command makes one up, sometimes a wrong one.
func (g generator) command(inMulti bool) []string {
	names := slices.Sorted(maps.Keys(grammar))
	name := names[g.IntN(len(names))]
	for inMulti && slices.Contains(apartFromMulti, name) {
		name = names[g.IntN(len(names))]
	}
	args := append([]string{name}, g.expand(grammar[name])...)
	scored := name == "ZADD" && args[1] == "lex" // its members keep one score: see lexKey
	if g.IntN(12) == 0 && !scored {
		args = g.spoil(args)
	}
	return args
}

// apartFromMulti pick at random, so that what follows them would differ.
var apartFromMulti = []string{"SPOP"}

func (g generator) spoil(args []string) []string {
	at := g.IntN(len(args))
	switch g.IntN(5) {
	case 0:
		args[0] = strings.ToLower(args[0])
	case 1:
		if at > 0 {
			args = slices.Delete(args, at, at+1)
		}
	case 2:
		args = append(args, args[at])
	case 3:
		if at > 0 && (at != 2 || !strings.Contains(args[0], "RAND")) {
			odd := []string{"", "x", "-1", "nan", "\x00\r\n"}
			if strings.ToUpper(args[0])[0] != 'B' { // else it may be how long to wait
				odd = append(odd, "0", "1.5", "9223372036854775807", "9223372036854775808")
			}
			args[at] = g.pick(odd...)
		}
	case 4:
		for i := 1; i < len(args); i++ {
			args[i] = strings.ToLower(args[i])
		}
	}
	return args
}

func (g generator) pick(from ...string) string { return from[g.IntN(len(from))] }

// expand follows a rule of the grammar: ?(x) may be, *(x) comes up to three times,
// (x|y) is one of them, #(x) is a count and so many x, <name> is made by a word.
func (g generator) expand(rule string) []string {
	var out []string
	for rule = strings.TrimSpace(rule); rule != ""; rule = strings.TrimSpace(rule) {
		var token string
		token, rule = nextToken(rule)
		switch {
		case strings.HasPrefix(token, "<"):
			out = append(out, words[strings.Trim(token, "<>")](g))
		case strings.HasPrefix(token, "?("):
			if g.IntN(3) == 0 {
				out = append(out, g.expand(token[1:])...)
			}
		case strings.HasPrefix(token, "*("):
			for range g.IntN(4) {
				out = append(out, g.expand(token[1:])...)
			}
		case strings.HasPrefix(token, "#("):
			n := 1 + g.IntN(3)
			out = append(out, strconv.Itoa(n))
			for range n {
				out = append(out, g.expand(token[1:])...)
			}
		case strings.HasPrefix(token, "("):
			out = append(out, g.expand(g.pick(alternatives(token[1:len(token)-1])...))...)
		default:
			out = append(out, token)
		}
	}
	return out
}

// nextToken cuts off a word or what stands in parentheses with its prefix.
func nextToken(rule string) (token, rest string) {
	depth := 0
	for i, r := range rule {
		switch r {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return rule[:i+1], rule[i+1:]
			}
		case ' ':
			if depth == 0 {
				return rule[:i], rule[i:]
			}
		}
	}
	return rule, ""
}

// alternatives splits at each | that no parentheses enclose.
func alternatives(rule string) []string {
	var out []string
	depth, from := 0, 0
	for i, r := range rule {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == '|' && depth == 0:
			out = append(out, rule[from:i])
			from = i + 1
		}
	}
	return append(out, rule[from:])
}

// compareAll compares all keys, their types and what is in them.
func (c *comparison) compareAll() {
	c.Helper()
	control := c.client("control")
	for _, key := range control.exchange(c, "KEYS", "*").texts() {
		read := map[string][]string{
			"string": {"GET", key}, "list": {"LRANGE", key, "0", "-1"}, "set": {"SMEMBERS", key},
			"hash": {"HGETALL", key}, "zset": {"ZRANGE", key, "0", "-1", "WITHSCORES"},
		}[control.exchange(c, "TYPE", key).text]
		control.exchange(c, read...)
		control.exchange(c, "TTL", key)
	}
}

// TestCompare_GrammarIsComplete fails when a command on data has no rule.
func TestCompare_GrammarIsComplete(t *testing.T) {
	t.Parallel()
	apart := strings.Fields(
		`AUTH HELLO ECHO QUIT RESET SELECT CLIENT COMMAND CONFIG INFO TIME WAIT LASTSAVE BGREWRITEAOF
		FLUSHDB FLUSHALL MULTI EXEC DISCARD WATCH UNWATCH PING
		SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE PUBLISH PUBSUB`)
	for _, name := range commandNames() {
		if _, ok := grammar[name]; !ok && !slices.Contains(apart, name) {
			t.Errorf("%s is never generated: give it a rule in grammar", name)
		}
	}
}
