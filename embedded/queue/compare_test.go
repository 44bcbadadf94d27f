package queue

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestCompare_Table runs the cases of testdata/compare against a real
// redis-server: the same bytes have to come back.
func TestCompare_Table(t *testing.T) {
	t.Parallel()
	cases := readScripts(t)
	for _, proto := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", proto), func(t *testing.T) {
			t.Parallel()
			servers := startCompared(t)
			for _, script := range cases {
				t.Run(script.section+"/"+script.at, func(t *testing.T) { newComparison(t, servers, proto).run(script) })
			}
		})
	}
}

// TestCompare_Arity calls every command with too few, enough and too many arguments.
func TestCompare_Arity(t *testing.T) {
	t.Parallel()
	servers := startCompared(t)
	// These leave the connection in a state of its own, take long, or guess passwords.
	apart := strings.Fields("AUTH QUIT RESET HELLO CLIENT SUBSCRIBE PSUBSCRIBE MULTI BGREWRITEAOF COMMAND")
	for _, name := range commandNames() {
		if !slices.Contains(apart, name) {
			t.Run(name, func(t *testing.T) { compareArity(newComparison(t, servers, 3), name) })
		}
	}
}

func compareArity(c *comparison, name string) {
	for _, key := range []string{"s", "l", "st", "h", "z", "missing"} {
		c.begin(scriptFixture)
		for n := range 6 {
			c.at = fmt.Sprintf("%s with %d arguments on %s", name, n, key)
			c.client("a").exchange(c, append([]string{name}, slices.Repeat([]string{key}, n)...)...)
			if c.Failed() {
				return
			}
		}
	}
}

// TestCompare_EveryCommandIsCovered fails when a command was added to the queue and
// not to the table of cases.
func TestCompare_EveryCommandIsCovered(t *testing.T) {
	t.Parallel()
	covered := sections(readScripts(t))
	for _, name := range commandNames() {
		if !mentions(covered[name], name, "") {
			t.Errorf("%s has no case: add section [%s] to testdata/compare", name, name)
		}
	}
	for section := range covered {
		if !slices.Contains(commandNames(), section) {
			t.Errorf("section [%s] is about no command of the queue", section)
		}
	}
}

// servedSubcommands lists the subcommands of commands that have some.
var servedSubcommands = map[string]string{
	"CLIENT":  "GETNAME ID INFO KILL LIST NO-EVICT REPLY SETNAME UNBLOCK",
	"COMMAND": "COUNT",
	"CONFIG":  "GET",
	"PUBSUB":  "CHANNELS NUMPAT NUMSUB",
}

// TestCompare_EveryOptionIsCovered asks Redis for the options of each command.
func TestCompare_EveryOptionIsCovered(t *testing.T) {
	t.Parallel()
	c, err := dialServer(startRedis(t), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	covered := sections(readScripts(t))
	for _, name := range commandNames() {
		docs, err := c.do("COMMAND", "DOCS", name)
		if err != nil || len(docs.items) != 2 {
			t.Fatalf("COMMAND DOCS %s: %v %q", name, err, docs.raw)
		}
		for _, token := range optionsOf(name, docs.items[1]) {
			if !mentions(covered[name], name, token) {
				t.Errorf("%s %s has no case: add one to section [%s] of testdata/compare", name, token, name)
			}
		}
	}
}

// optionsOf returns the tokens in what Redis documents of a command.
func optionsOf(name string, docs respValue) []string {
	var out []string
	for i := 0; i+1 < len(docs.items); i += 2 {
		field, value := docs.items[i].text, docs.items[i+1]
		switch {
		case field == "token" && value.text != `""`:
			out = append(out, value.text)
		case field == "arguments":
			for _, argument := range value.items {
				out = append(out, optionsOf(name, argument)...)
			}
		case field == "subcommands":
			for j := 0; j+1 < len(value.items); j += 2 {
				_, sub, _ := strings.Cut(strings.ToUpper(value.items[j].text), "|")
				if slices.Contains(strings.Fields(servedSubcommands[name]), sub) {
					out = append(append(out, sub), optionsOf(name, value.items[j+1])...)
				}
			}
		}
	}
	return out
}

// TestCompare_Normalisation checks that what is not compared byte for byte is
// compared all the same.
func TestCompare_Normalisation(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args, redis, subject string
		same                 bool
	}{
		{"GET k", "$1\r\na\r\n", "$1\r\na\r\n", true},
		{"GET k", "$1\r\na\r\n", "$1\r\nb\r\n", false},
		{"GET k", "$-1\r\n", "_\r\n", false},
		{"SMEMBERS k", "*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n", true},
		{"smembers k", "*2\r\n+a\r\n+b\r\n", "*2\r\n+a\r\n+a\r\n", false},
		{"SMEMBERS k", "~1\r\n+a\r\n", "*1\r\n+a\r\n", false},
		{"SMEMBERS k", "-ERR a\r\n", "-ERR b\r\n", false},
		{"HGETALL k", "*4\r\n+a\r\n+1\r\n+b\r\n+2\r\n", "*4\r\n+b\r\n+2\r\n+a\r\n+1\r\n", true},
		{"HGETALL k", "*4\r\n+a\r\n+1\r\n+b\r\n+2\r\n", "*4\r\n+a\r\n+2\r\n+b\r\n+1\r\n", false},
		{"TTL k", ":100\r\n", ":99\r\n", true},
		{"TTL k", ":100\r\n", ":90\r\n", false},
		{"TTL k", ":-1\r\n", ":-2\r\n", false},
		{"SPOP k 2", "*2\r\n+a\r\n+b\r\n", "*2\r\n+c\r\n+d\r\n", true},
		{"SPOP k 2", "*2\r\n+a\r\n+b\r\n", "*1\r\n+c\r\n", false},
		{"SSCAN k 0", "*2\r\n$1\r\n0\r\n*1\r\n+a\r\n", "*2\r\n$1\r\n0\r\n*1\r\n+b\r\n", false},
		{"SSCAN k 0", "*2\r\n$1\r\n5\r\n*1\r\n+a\r\n", "*2\r\n$1\r\n7\r\n*1\r\n+b\r\n", true},
		{"SSCAN k 0", "*2\r\n$1\r\n5\r\n*1\r\n+a\r\n", "*2\r\n:7\r\n*1\r\n+b\r\n", false},
		{"CONFIG GET timeout", "*2\r\n+timeout\r\n+0\r\n", "*0\r\n", false},
		{"CLIENT SETINFO a b", "-ERR unknown subcommand\r\n", "+OK\r\n", true},
		{"CLIENT SETINFO a b", "-ERR unknown subcommand\r\n", ":1\r\n", false},
		{"XADD k * a b", "+1-0\r\n", "-ERR XADD is not served by crawlbox's embedded queue; use Redis\r\n", true},
		{"GET k", "+x\r\n", "-ERR GET is not served by crawlbox's embedded queue; use Redis\r\n", false},
	} {
		err := equalReply(strings.Fields(tc.args), nil, parsedReply(t, tc.redis), parsedReply(t, tc.subject))
		if (err == nil) != tc.same {
			t.Errorf("%s: %q and %q: %v", tc.args, tc.redis, tc.subject, err)
		}
	}
	queued := [][]string{{"SMEMBERS", "k"}, {"GET", "k"}}
	redis, other := "*2\r\n*2\r\n+a\r\n+b\r\n+x\r\n", "*2\r\n*2\r\n+b\r\n+a\r\n+y\r\n"
	if err := equalReply([]string{"EXEC"}, queued, parsedReply(t, redis), parsedReply(t, other)); err == nil {
		t.Error("another GET within EXEC went unnoticed")
	}
}

func parsedReply(t *testing.T, raw string) respValue {
	t.Helper()
	v, err := respReader{bufio.NewReader(strings.NewReader(raw))}.read()
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return v
}
