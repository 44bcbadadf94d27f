package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// TestCompare_GeneratedEvents has a client listen to all keyspace notifications while random
// commands run, and compares what it hears after each step.
func TestCompare_GeneratedEvents(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	steps := int(envNumber(t, compareSteps, 4000))
	c := newComparison(t, startCompared(t), 2+int(seed%2))
	c.begin(scriptFixture)
	g := generator{rand.New(rand.NewPCG(seed, 7))}
	heard := 0
	for step := 1; step <= steps && !t.Failed(); step++ {
		c.at = fmt.Sprintf("%s=%d step %d", testenv.SeedVariable, seed, step)
		if c.clients["listener"] == nil {
			c.client("listener").exchange(c, "PSUBSCRIBE", "__key*", "mark")
			c.clients["listener"].receive(c)
		}
		args := g.command(false)
		c.client("a").exchange(c, args...)
		// What a random pick took from one is taken from the other by more commands.
		if n := c.events(args, !strings.EqualFold(args[0], "SPOP")); n > 0 {
			heard++
		}
		if step%200 == 0 {
			c.begin(scriptFixture)
		}
	}
	if heard < steps/10 && !t.Failed() {
		t.Errorf("only %d of %d commands told of something", heard, steps)
	}
}

// events reads what the listener has heard since the last time, and compares it if asked to.
func (c *comparison) events(args []string, compare bool) int {
	c.Helper()
	c.client("control").exchange(c, "PUBLISH", "mark", "x")
	listener := c.client("listener")
	redis, subject := c.untilMark(listener.redis), c.untilMark(listener.subject)
	if compare && !slices.Equal(redis, subject) {
		c.Errorf("%s: %.300q tells\n%.600q at redis,\n%.600q here", c.at, args, redis, subject)
	}
	return len(redis)
}

func (c *comparison) untilMark(client *rawClient) (events []string) {
	c.Helper()
	for range 10_000 {
		message, err := client.read()
		if err != nil {
			c.Fatalf("%s: listen at %s: %v", c.at, client.RemoteAddr(), err)
		}
		if message.has("mark") {
			return events
		}
		events = append(events, message.raw)
	}
	c.Fatalf("%s: no end of messages at %s", c.at, client.RemoteAddr())
	return nil
}
