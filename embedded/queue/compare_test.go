package queue

import (
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
		for n := range 6 {
			c.at = fmt.Sprintf("%s with %d arguments on %s", name, n, key)
			c.begin(scriptFixture)
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

// servedSubcommands are those of commands that have some.
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
