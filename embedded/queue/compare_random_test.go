package queue

import (
	"slices"
	"strings"
)

// compareMembership looks up what a random command picked, and makes the data
// equal again where it took something.
func (c *comparison) compareMembership(args []string, redis, subject respValue) {
	c.Helper()
	switch strings.ToUpper(args[0]) {
	case "SPOP":
		c.equalise(args[1], redis, subject)
	case "SRANDMEMBER":
		c.picked(args, subject, 1, "SMEMBERS", args[1])
	case "HRANDFIELD":
		c.picked(args, subject, pickWidth(args), "HGETALL", args[1])
	case "ZRANDMEMBER":
		c.picked(args, subject, pickWidth(args), "ZRANGE", args[1], "0", "-1", "WITHSCORES")
	case "RANDOMKEY":
		c.picked(args, subject, 1, "KEYS", "*")
	}
}

func pickWidth(args []string) int {
	if len(args) > 3 {
		return 2 // WITHVALUES, WITHSCORES
	}
	return 1
}

// picked checks that what the subject picked is among what Redis has, and once
// unless the count is negative.
func (c *comparison) picked(args []string, subject respValue, width int, all ...string) {
	c.Helper()
	control := c.client("control").redis
	reply, err := control.do(all...)
	if err != nil || reply.isError() {
		c.Fatalf("%s: %q: %v %q", c.at, all, err, reply.raw)
	}
	have := reply.texts()
	if width == 1 && all[0] != "SMEMBERS" && all[0] != "KEYS" {
		for i := range len(have) / 2 { // members or fields without what belongs to them
			have[i] = have[2*i]
		}
		have = have[:len(have)/2]
	}
	got := subject.texts()
	if subject.items == nil {
		got = []string{subject.text}
	}
	known := map[string]bool{}
	for chunk := range slices.Chunk(have, width) {
		known[strings.Join(chunk, "\x00")] = true
	}
	again := len(args) > 2 && strings.HasPrefix(args[2], "-")
	for chunk := range slices.Chunk(got, width) {
		item := strings.Join(chunk, "\x00")
		if !known[item] {
			c.Errorf("%s: %q picked %q, which is not there or came twice", c.at, args, item)
		}
		if !again {
			delete(known, item)
		}
	}
}

// equalise makes the subject's set what the yardstick's is after SPOP took one or
// the other, and checks that what it took was there.
func (c *comparison) equalise(key string, redis, subject respValue) {
	c.Helper()
	a, b := poppedMembers(redis), poppedMembers(subject)
	control := c.client("control")
	for _, member := range b {
		if slices.Contains(a, member) {
			continue
		}
		if reply, err := control.redis.do("SISMEMBER", key, member); err != nil || reply.raw != ":1\r\n" {
			c.Errorf("%s: SPOP %s took %q, which was not there", c.at, key, member)
		}
		c.correct(control.subject, "SADD", key, member)
	}
	for _, member := range a {
		if !slices.Contains(b, member) {
			c.correct(control.subject, "SREM", key, member)
		}
	}
	if slices.Sort(b); len(slices.Compact(b)) != len(a) {
		c.Errorf("%s: SPOP %s took a member twice", c.at, key)
	}
}

func (c *comparison) correct(client *rawClient, args ...string) {
	c.Helper()
	if reply, err := client.do(args...); err != nil || reply.raw != ":1\r\n" {
		c.Errorf("%s: %q: %v %q", c.at, args, err, reply.raw)
	}
}

func poppedMembers(reply respValue) []string {
	if reply.kind == '$' {
		return []string{reply.text}
	}
	return reply.texts()
}
