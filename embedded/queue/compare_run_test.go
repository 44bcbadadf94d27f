package queue

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// comparison is one course of commands against both servers.
type comparison struct {
	testing.TB
	servers comparedServers
	proto   int
	clients map[string]*clientPair
	left    []*clientPair // hung up; the servers may not know yet
	at      string        // what is being compared, for messages
}

// clientPair is one client, at both servers.
type clientPair struct {
	redis, subject *rawClient
	sent           [][]string // commands whose replies were not read
	queued         [][]string // within MULTI
	multi          bool
}

func newComparison(t testing.TB, servers comparedServers, proto int) *comparison {
	c := &comparison{TB: t, servers: servers, proto: proto, clients: map[string]*clientPair{}}
	t.Cleanup(c.close)
	return c
}

// begin makes all connections new and the data the fixture.
func (c *comparison) begin(fixture []string) {
	c.Helper()
	c.close()
	control := c.client("control")
	c.awaitLeft()
	for _, line := range append([]string{"FLUSHALL"}, fixture...) {
		control.exchange(c, strings.Fields(line)...)
	}
}

func (c *comparison) close() {
	for name := range c.clients {
		c.hangUp(name)
	}
}

func (c *comparison) hangUp(name string) {
	if p := c.clients[name]; p != nil {
		p.redis.Close()
		p.subject.Close()
		delete(c.clients, name)
		c.left = append(c.left, p)
	}
}

// awaitLeft waits until both servers know who hung up: subscriptions and waits of
// such a client count until then.
func (c *comparison) awaitLeft() {
	c.Helper()
	control := c.client("control")
	c.awaitAt(control.redis, "CLIENT", func(reply respValue) bool {
		return !slices.ContainsFunc(c.left,
			func(p *clientPair) bool { return clientLine(reply.text, p.redis.id) != "" })
	}, "LIST")
	c.awaitAt(control.subject, "CLIENT", func(reply respValue) bool {
		return !slices.ContainsFunc(c.left,
			func(p *clientPair) bool { return clientLine(reply.text, p.subject.id) != "" })
	}, "LIST")
	c.left = nil
}

// clientLine returns the line of CLIENT LIST about a client, "" where it has none.
func clientLine(list, id string) string {
	for line := range strings.Lines(list) {
		if strings.HasPrefix(line, "id="+id+" ") {
			return line
		}
	}
	return ""
}

// client returns the named connection, which is opened for the first use.
func (c *comparison) client(name string) *clientPair {
	c.Helper()
	p := c.clients[name]
	if p == nil {
		p = &clientPair{redis: c.dial(c.servers.redis), subject: c.dial(c.servers.subject)}
		c.clients[name] = p
	}
	return p
}

func (c *comparison) dial(server redisServer) *rawClient {
	c.Helper()
	client, err := dialServer(server, c.proto)
	if err != nil {
		c.Fatalf("%s: %v", c.at, err)
	}
	id, err := client.do("CLIENT", "ID")
	if err != nil || id.isError() {
		c.Fatalf("%s: CLIENT ID: %v %q", c.at, err, id.raw)
	}
	client.id = id.text
	return client
}

// run does one case of the table.
func (c *comparison) run(script scriptCase) {
	c.Helper()
	c.at = script.at
	c.begin(scriptFixture)
	for _, line := range script.lines {
		c.at = line.at + fmt.Sprintf(" (RESP%d)", c.proto)
		c.step(line)
		if c.Failed() {
			return // whatever follows would differ as well
		}
	}
}

func (c *comparison) step(line scriptLine) {
	c.Helper()
	if line.op == '@' {
		c.direct(line.args)
		return
	}
	p := c.client(line.conn)
	n := 1
	if line.op == '<' || line.op == '~' {
		if len(line.args) > 0 {
			n, _ = strconv.Atoi(line.args[0])
		}
	}
	switch line.op {
	case ':':
		p.exchange(c, line.args...)
	case '>':
		p.send(c, line.args)
	case '<':
		for range n {
			p.receive(c)
		}
	case '~':
		p.receiveAnyOrder(c, n)
	case '!':
		p.ended(c)
	}
}

func (c *comparison) direct(args []string) {
	c.Helper()
	switch args[0] {
	case "close":
		c.hangUp(args[1])
		c.awaitLeft()
	case "blocked":
		c.await("INFO", func(reply respValue) bool {
			return strings.Contains(reply.text, "blocked_clients:"+args[1]+"\r\n")
		}, "clients")
	case "gone":
		c.await("EXISTS", func(reply respValue) bool { return reply.text == "0" }, args[1])
	case "scan":
		c.scan(args[1:])
	default:
		c.Fatalf("%s: no such directive: @%s", c.at, args[0])
	}
}

// await asks both servers until the reply is as it should be.
func (c *comparison) await(name string, ok func(respValue) bool, args ...string) {
	c.Helper()
	control := c.client("control")
	c.awaitAt(control.redis, name, ok, args...)
	c.awaitAt(control.subject, name, ok, args...)
}

func (c *comparison) awaitAt(client *rawClient, name string, ok func(respValue) bool, args ...string) {
	c.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		reply, err := client.do(append([]string{name}, args...)...)
		if err != nil {
			c.Fatalf("%s: %s: %v", c.at, name, err)
		}
		if ok(reply) {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("%s: %s %q at %s for 10 s: %q", c.at, name, args, client.RemoteAddr(), reply.raw)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// scan compares what a scan from cursor 0 to cursor 0 finds. An item may come twice.
func (c *comparison) scan(args []string) {
	c.Helper()
	at := 2
	if strings.EqualFold(args[0], "SCAN") {
		at = 1
	}
	args = slices.Insert(slices.Clone(args), at, "0")
	control := c.client("control")
	redis, subject := c.scanAll(control.redis, args, at), c.scanAll(control.subject, args, at)
	if !slices.Equal(redis, subject) {
		c.Errorf("%s: %q finds\n%.500q at redis,\n%.500q here", c.at, args, redis, subject)
	}
}

func (c *comparison) scanAll(client *rawClient, args []string, at int) []string {
	c.Helper()
	args = slices.Clone(args)
	var items []respValue
	for range 100_000 {
		reply, err := client.do(args...)
		if err != nil || len(reply.items) != 2 {
			c.Fatalf("%s: %q: %v %q", c.at, args, err, reply.raw)
		}
		items = append(items, reply.items[1].items...)
		if args[at] = reply.items[0].text; args[at] == "0" {
			return slices.Compact(sortedChunks(items, scanWidth(args[0])))
		}
	}
	c.Fatalf("%s: %q does not end", c.at, args)
	return nil
}

func (p *clientPair) send(c *comparison, args []string) {
	c.Helper()
	for _, client := range []*rawClient{p.redis, p.subject} {
		if err := client.send(c.fill(args, client)...); err != nil {
			c.Fatalf("%s: send %.200q: %v", c.at, args, err)
		}
	}
	p.sent = append(p.sent, args)
}

// fill puts in what differs between the servers.
func (c *comparison) fill(args []string, at *rawClient) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if !strings.Contains(arg, "{") {
			continue
		}
		out[i] = strings.ReplaceAll(arg, "{password}", testPassword)
		if at != nil && c.servers.subject.addr == at.RemoteAddr().String() {
			out[i] = strings.ReplaceAll(arg, "{password}", c.servers.subject.password)
		}
		for name, p := range c.clients {
			client := p.redis
			if at.RemoteAddr().String() == p.subject.RemoteAddr().String() {
				client = p.subject
			}
			out[i] = strings.ReplaceAll(out[i], "{id:"+name+"}", client.id)
			out[i] = strings.ReplaceAll(out[i], "{addr:"+name+"}", client.LocalAddr().String())
		}
	}
	return out
}

// exchange does a command at both, and returns the yardstick's reply.
func (p *clientPair) exchange(c *comparison, args ...string) respValue {
	c.Helper()
	p.send(c, args)
	return p.receive(c)
}

// receive reads a reply from both and compares.
func (p *clientPair) receive(c *comparison) respValue {
	c.Helper()
	args := []string{"(push)"}
	if len(p.sent) > 0 {
		args, p.sent = p.sent[0], p.sent[1:]
	}
	redis, subject := p.read(c, args)
	if err := equalReply(args, p.queued, redis, subject); err != nil {
		c.Errorf("%s: %.300q: %v\nredis:   %.600q\nsubject: %.600q", c.at, args, err, redis.raw, subject.raw)
		return redis
	}
	wasMulti := p.multi
	p.follow(args, redis)
	if !wasMulti && !redis.isError() && !redis.null {
		c.compareMembership(args, redis, subject)
	}
	return redis
}

func (p *clientPair) read(c *comparison, args []string) (redis, subject respValue) {
	c.Helper()
	redis, err := p.redis.read()
	if err != nil {
		c.Fatalf("%s: %.300q at redis: %v", c.at, args, err)
	}
	if subject, err = p.subject.read(); err != nil {
		c.Fatalf("%s: %.300q: %v; redis says %.600q", c.at, args, err, redis.raw)
	}
	return redis, subject
}

// follow keeps book of a transaction.
func (p *clientPair) follow(args []string, reply respValue) {
	switch name := strings.ToUpper(args[0]); {
	case reply.raw == "+QUEUED\r\n":
		p.queued = append(p.queued, args)
	case name == "MULTI" && !reply.isError():
		p.multi = true
	case name == "EXEC" || name == "DISCARD" || name == "RESET":
		p.multi, p.queued = false, nil
	}
}

// receiveAnyOrder reads n replies, such as those of UNSUBSCRIBE without names.
func (p *clientPair) receiveAnyOrder(c *comparison, n int) {
	c.Helper()
	var redis, subject respValue
	for range n {
		a, b := p.read(c, nil)
		// What is left is counted down, whatever the order of names.
		if len(a.items) != 3 || len(b.items) != 3 || a.items[2].raw != b.items[2].raw {
			c.Fatalf("%s: redis: %q, subject: %q", c.at, a.raw, b.raw)
		}
		redis.items = append(redis.items, a.items[:2]...)
		subject.items = append(subject.items, b.items[:2]...)
	}
	p.sent = nil
	if err := samePairs(nil, redis, subject); err != nil {
		c.Errorf("%s: %v\nredis:   %q\nsubject: %q", c.at, err, redis.texts(), subject.texts())
	}
}

// ended checks that both servers have hung up without another word.
func (p *clientPair) ended(c *comparison) {
	c.Helper()
	for _, client := range []*rawClient{p.redis, p.subject} {
		if rest, err := client.rest(); rest != "" || err != nil {
			c.Errorf("%s: not the end at %s: %q, %v", c.at, client.RemoteAddr(), rest, err)
		}
	}
}
