package lease_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// TestLeases runs random programs of pushes, pops, transactions, ends of holders and crashes
// on the embedded engine, and on each Redis and Valkey of this machine, beside a model. The
// replies have to be those of the same commands without leases, to the byte.
func TestLeases(t *testing.T) {
	t.Parallel()
	seed := testenv.Seed(t)
	const steps = 1500
	servers := map[string]func(testing.TB) server{
		"engine":   func(testing.TB) server { return newInProcess() },
		"embedded": func(t testing.TB) server { return startEmbedded(t) },
	}
	for name, program := range programs(t) {
		servers[name] = func(t testing.TB) server { return startProgram(t, program) }
	}
	for name, start := range servers {
		for _, proto := range []int{2, 3} {
			t.Run(name+strconv.Itoa(proto), func(t *testing.T) {
				t.Parallel()
				data := make([]byte, 24*steps)
				g := rand.New(rand.NewPCG(seed, uint64(proto)))
				for i := range data {
					data[i] = byte(g.Uint32())
				}
				if dropped := runProgram(t, start(t), proto, 1+int(seed%5), data); dropped == 0 {
					t.Error("no lease was ended by newer ones")
				}
			})
		}
	}
}

// FuzzLease has the bytes choose a program, on the embedded engine.
func FuzzLease(f *testing.F) {
	for n := range 8 {
		data := make([]byte, 2<<10)
		_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(data) // it never fails
		f.Add(data, n)
	}
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		n &= 7
		runProgram(t, newInProcess(), 2+n&1, 1+n>>1, data[:min(len(data), 4<<10)])
	})
}

// chooser makes choices by bytes; without any left it chooses the first.
type chooser struct{ data []byte }

func (c *chooser) intN(n int) int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b) % n
}

func choose[T any](c *chooser, some ...T) T { return some[c.intN(len(some))] }

const odd = "l\x00:7:\r\n" // a key

// program is a program that runs on a server and in a model.
type program struct {
	testing.TB
	chooser
	*model
	server  server
	proto   int
	on, off conn // the same commands, with leases and without
	now     time.Time
	next    int // item
	leaves  map[string]bool
	crash   int  // so many commands later the caller dies; 0: it does not
	after   bool // and the last one was done
}

var holderIDs = []string{"4f1c0de", "conn-8", "b"}

// runProgram returns how many leases newer ones have ended.
func runProgram(t testing.TB, s server, proto, window int, data []byte) int {
	rules := lease.Rules{
		Safe:          []string{"l1", "l2", odd, "s1", "z1", "z2"},
		Window:        window,
		MaxDeliveries: 2,
	}
	if err := rules.Validate(); err != nil {
		t.Fatal(err)
	}
	p := &program{
		TB:      t,
		chooser: chooser{data},
		model:   newModel(t, rules),
		server:  s,
		proto:   proto,
		on:      s.open(t, 0, proto),
		off:     s.open(t, 1, proto),
		now:     time.UnixMilli(1_700_000_000_000),
		leaves:  map[string]bool{},
	}
	for step := 0; len(p.data) > 0 && !t.Failed(); step++ {
		p.step()
		if step%16 == 0 {
			p.check()
		}
	}
	for _, holder := range holderIDs {
		p.end(holder, lease.Back)
	}
	p.check()
	return p.dropped
}

func (p *program) step() {
	p.Helper()
	p.now = p.now.Add(time.Microsecond)
	switch n := p.intN(48); {
	case n < 18:
		for range 1 + p.intN(4) {
			p.push()
		}
	case n < 31:
		p.popOnce()
	case n < 36:
		p.transaction()
	case n < 40:
		p.popTimes()
	case n < 42:
		p.crash, p.after = p.intN(4), p.intN(2) == 1
		p.end(choose(&p.chooser, holderIDs...), choose(&p.chooser, lease.Done, lease.Back, lease.Back))
	case n < 45:
		p.lose()
	case n < 46:
		p.bury()
	case n < 47:
		p.leave()
	default:
		p.server.restart(p)
	}
}

// both does a command that leases do not touch, with and without leases.
func (p *program) both(args ...string) {
	p.Helper()
	if on, off := p.on.do(args...), p.off.do(args...); on != off {
		p.Fatalf("%q: %q with leases, %q without", args, on, off)
	}
}

func (p *program) push() {
	p.Helper()
	p.both(p.pushing()...)
}

// pushing notes the push of a new item, and returns its command.
func (p *program) pushing() []string {
	p.next++
	it := modelItem{
		key:  choose(&p.chooser, "l1", "l1", "l2", "l3", odd, "s1", "s3", "z1", "z2", "z3"),
		item: strconv.Itoa(p.next) + choose(&p.chooser, "", ":\x00\xff\r\n", "::"),
	}
	if p.intN(64) == 0 {
		it.item += strings.Repeat("x", script.SlackBytes)
	}
	if it.key[0] == 'l' && p.intN(8) == 0 {
		it.item = "again"
	}
	p.pushed[it.item]++
	switch it.key[0] {
	case 'l':
		left := p.intN(2) == 1
		p.put(it, left)
		if left {
			return []string{"LPUSH", it.key, it.item}
		}
		return []string{"RPUSH", it.key, it.item}
	case 's':
		p.put(it, false)
		return []string{"SADD", it.key, it.item}
	}
	score := choose(&p.chooser, "1", "-2.5", "0.1", "1e300", "inf", "-inf", "3", "3")
	it.score, _ = strconv.ParseFloat(score, 64)
	p.put(it, false)
	return []string{"ZADD", it.key, score, it.item}
}

// popping returns any pop.
func (p *program) popping() pop {
	kind := choose(&p.chooser, "l", "l", "s", "z")
	key := func() string {
		if kind == "l" {
			return choose(&p.chooser, "l1", "l2", "l3", odd)
		}
		return kind + choose(&p.chooser, "1", "1", "3")
	}
	names := map[string][]string{"l": {"LPOP", "RPOP"}, "s": {"SPOP"}, "z": {"ZPOPMIN", "ZPOPMAX"}}[kind]
	out := pop{name: choose(&p.chooser, names...), keys: []string{key()}, count: 1}
	form := p.intN(4)
	if kind == "s" {
		form %= 2
	}
	if form >= 2 {
		for range p.intN(3) {
			out.keys = append(out.keys, key())
		}
	}
	if form&1 == 1 {
		out.count = 1 + p.intN(7)
	}
	count := strconv.Itoa(out.count)
	switch form {
	case 0:
		out.args = []string{out.name, out.keys[0]}
	case 1:
		out.args = []string{out.name, out.keys[0], count}
	case 2:
		out.args = append(append([]string{"b" + out.name}, out.keys...), "0.001")
	case 3:
		multi := map[string][]string{
			"LPOP": {"LMPOP", "LEFT"}, "RPOP": {"LMPOP", "right"},
			"ZPOPMIN": {"zmpop", "MIN"}, "ZPOPMAX": {"ZMPOP", "MAX"},
		}[out.name]
		out.args = append([]string{multi[0], strconv.Itoa(len(out.keys))}, out.keys...)
		if p.intN(2) == 1 {
			out.args = append([]string{"B" + multi[0], "0.001"}, out.args[1:]...)
		}
		out.args = append(out.args, multi[1], "count", count)
	}
	return out
}

// rewrite returns what a command becomes, and what a null stands for.
func (p *program) rewrite(args []string, multi bool, holder string) (sent []string, of *lease.Pop) {
	of = p.rules.Rewrite(args, multi, p.proto == 3,
		lease.NewHolder(holder, "c"+holder[:1], lease.About{Name: "spider.1"}), p.now)
	if of == nil {
		return args, nil
	}
	return of.Args, of
}

func meant(reply string, of *lease.Pop) string {
	if of != nil && (reply == "$-1\r\n" || reply == "_\r\n") {
		return of.Nothing
	}
	return reply
}

// ask sends what a pop became, as a front does.
func (p *program) ask(args []string, of *lease.Pop) string {
	p.Helper()
	reply := p.on.do(args...)
	if of != nil && strings.HasPrefix(reply, "-NOSCRIPT") {
		reply = p.on.do(of.Eval(args)...)
	}
	return reply
}

func (p *program) popOnce() {
	p.Helper()
	holder, want := choose(&p.chooser, holderIDs...), p.popping()
	args, of := p.rewrite(want.args, false, holder)
	p.isPop(want, of)
	reply := meant(p.ask(args, of), of)
	if p.refused(holder, of, reply) {
		return
	}
	p.compare(want, reply, p.off.do)
	p.took(holder, want, of, reply)
}

// leave has a holder get nothing for some time, or ends that.
func (p *program) leave() {
	p.Helper()
	holder := choose(&p.chooser, holderIDs...)
	p.leaves[holder] = !p.leaves[holder]
	err := lease.Stay(p.Context(), doOf(p.on), holder)
	if p.leaves[holder] {
		err = lease.Leave(p.Context(), doOf(p.on), time.Hour, holder)
	}
	if err != nil {
		p.Fatal(err)
	}
}

// refused reports whether a pop has to be refused, and checks that it was.
func (p *program) refused(holder string, of *lease.Pop, reply string) bool {
	p.Helper()
	if of == nil || !p.leaves[holder] {
		return false
	}
	if want := "-" + script.ErrLeaving + "\r\n"; reply != want {
		p.Fatalf("the reply to a pop of one who leaves is %q, want %q", reply, want)
	}
	return true
}

// isPop checks that what is to be leased is.
func (p *program) isPop(want pop, of *lease.Pop) {
	p.Helper()
	safe := slices.ContainsFunc(want.keys, func(key string) bool { return slices.Contains(p.rules.Safe, key) })
	if safe != (of != nil) {
		p.Fatalf("%q is a lease: %t, want %t", want.args, of != nil, safe)
	}
}

// compare does a pop without leases and compares the replies. Where chance says which members
// are popped, the same ones are.
func (p *program) compare(want pop, reply string, off func(...string) string) {
	p.Helper()
	if got := members(reply); want.name == "SPOP" && len(got) > 0 {
		head, _, _ := strings.Cut(reply, "\r\n")
		shape := "$" + strconv.Itoa(len(got[0]))
		if len(want.args) > 2 {
			shape = map[int]string{2: "*", 3: "~"}[p.proto] + strconv.Itoa(len(got))
		}
		if head != shape {
			p.Fatalf("%q: %q, want it to begin with %q", want.args, reply, shape)
		}
		if n := off(append([]string{"SREM", want.keys[0]}, got...)...); n != fmt.Sprintf(":%d\r\n", len(got)) {
			p.Fatalf("%q popped %q, of which there were %q", want.args, got, n)
		}
		return
	}
	if without := off(want.args...); reply != without {
		p.Fatalf("%q: %q with leases, %q without", want.args, reply, without)
	}
}

// members returns the members that SPOP popped.
func members(reply string) []string {
	v, err := value(reply)
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, item := range v {
			text, _ := item.(string)
			out = append(out, text)
		}
		return out
	}
	_ = err // an error pops nothing
	return nil
}

// took has the model pop as well.
func (p *program) took(holder string, want pop, of *lease.Pop, reply string) {
	p.Helper()
	some := members(reply)
	if want.name == "SPOP" && of != nil {
		p.sortAsHeld(holder, of.Stamp, some)
	}
	key, got := p.take(want, some)
	if of != nil && key != "" {
		p.hold(holder, of.Stamp, want, key, got)
		return
	}
	for _, it := range got {
		p.done[it.item]++
	}
}

// sortAsHeld puts members in the order in which they were popped, which a set of RESP3 does
// not tell; those that are no longer held come first.
func (p *program) sortAsHeld(holder, stamp string, some []string) {
	p.Helper()
	place := map[string]int{}
	for i, text := range members(p.on.do("LRANGE", script.HeldPrefix+holder, "0", "-1")) {
		if e, _ := script.Parse(text); e.Stamp == stamp {
			place[e.Item] = i + 1
		}
	}
	slices.SortStableFunc(some, func(a, b string) int { return place[a] - place[b] })
}

// popTimes sends the same pop several times at once.
func (p *program) popTimes() {
	p.Helper()
	holder := choose(&p.chooser, holderIDs...)
	want := pop{name: choose(&p.chooser, "LPOP", "RPOP", "ZPOPMIN", "ZPOPMAX", "SPOP"), count: 1}
	want.keys = []string{map[byte]string{'L': "l1", 'R': odd, 'Z': "z1", 'S': "s1"}[want.name[0]]}
	want.args = []string{want.name, want.keys[0]}
	_, of := p.rewrite(want.args, false, holder)
	if of == nil || !of.Single {
		p.Fatalf("%q is no pop of a single item", want.args)
	}
	n := 1 + p.intN(9)
	reply := p.ask(of.Times(n), of)
	if p.refused(holder, of, reply) {
		return
	}
	replies := elements(reply)
	if meant(reply, of) == of.Nothing {
		replies = nil
	}
	var got []modelItem
	for i := range n {
		one := of.Nothing
		if i < len(replies) {
			one = replies[i]
		}
		p.compare(want, one, p.off.do)
		_, some := p.take(want, members(one))
		got = append(got, some...)
	}
	p.hold(holder, of.Stamp, want, want.keys[0], got)
}

// transaction runs several commands at once, Scrapy's pairs among them.
func (p *program) transaction() {
	p.Helper()
	holder := choose(&p.chooser, holderIDs...)
	var commands [][]string
	var pops []pop // without args: not a pop
	add := func(args []string, q pop) { commands, pops = append(commands, args), append(pops, q) }
	for range 1 + p.intN(3) {
		n := 1 + p.intN(4)
		count, last := strconv.Itoa(n), strconv.Itoa(n-1)
		switch p.intN(5) {
		case 0:
			key := choose(&p.chooser, "l1", "l3")
			add([]string{"LRANGE", key, "0", last}, pop{})
			args := []string{"LTRIM", key, count, "-1"}
			add(args, pop{args, "LPOP", []string{key}, n})
		case 1:
			key := choose(&p.chooser, "z1", "z2", "z3")
			add([]string{"ZRANGE", key, "0", last}, pop{})
			args := []string{"ZREMRANGEBYRANK", key, "0", last}
			add(args, pop{args, "ZPOPMIN", []string{key}, n})
		case 2:
			args := []string{"ZREMRANGEBYRANK", "z1", "-" + count, "-1"}
			add(args, pop{args, "ZPOPMAX", []string{"z1"}, n})
		default:
			q := p.popping()
			add(q.args, q)
		}
	}
	sent, rewritten := make([][]string, len(commands)), make([]*lease.Pop, len(commands))
	for i, args := range commands {
		p.now = p.now.Add(time.Microsecond)
		sent[i], rewritten[i] = p.rewrite(args, true, holder)
		if pops[i].args != nil {
			p.isPop(pops[i], rewritten[i])
		}
	}
	replies := p.on.exec(sent)
	without := slices.Clone(commands)
	for i, q := range pops {
		replies[i] = meant(replies[i], rewritten[i])
		if got := members(replies[i]); q.name == "SPOP" && len(got) > 0 {
			without[i] = append([]string{"SREM", q.keys[0]}, got...)
		}
	}
	for i, reply := range p.off.exec(without) {
		q := pops[i]
		if without[i][0] == "SREM" {
			p.compare(q, replies[i], func(...string) string { return reply })
		} else if reply != replies[i] {
			p.Fatalf("%q in a transaction: %q with leases, %q without", commands[i], replies[i], reply)
		}
		if q.args != nil {
			p.took(holder, q, rewritten[i], replies[i])
		}
	}
}

// errCrash ends a caller in the middle of its work.
var errCrash = errors.New("the caller has died")

// do sends a command for the functions of the package, and has the model, and the queues without
// leases, make the same change.
func (p *program) do(ctx context.Context, args ...any) (any, error) {
	if p.crash--; p.crash == 0 && !p.after {
		return nil, errCrash
	}
	reply, err := doOf(p.on)(ctx, args...)
	if name := fmt.Sprint(args[0]); strings.HasPrefix(name, "EVAL") && err == nil {
		n, _ := strconv.Atoi(fmt.Sprint(args[2]))
		var argv []string
		for _, arg := range args[3+n:] {
			argv = append(argv, fmt.Sprint(arg))
		}
		if sha := fmt.Sprint(args[1]); sha == script.Settle.SHA || sha == script.Settle.Text {
			p.settled(argv[0], argv[1], argv[2], argv[3:])
		}
	}
	if p.crash == 0 {
		return nil, errCrash
	}
	return reply, err
}

func (p *program) settled(holder, how, limit string, entries []string) {
	most, _ := strconv.Atoi(limit)
	if done := len(p.held[holder]) - len(p.live(holder)); done > 0 && how == "back" {
		p.Fatalf("%s gives items back while %d that are done are still there", holder, done)
	}
	for _, text := range entries {
		e, ok := script.Parse(text)
		if !ok {
			p.Fatalf("%s holds %q", holder, text)
		}
		score, _ := strconv.ParseFloat(e.Score, 64)
		entry := modelEntry{modelItem{e.Key, e.Item, score}, e.Kind == script.Left, e.Stamp}
		if !p.settle(holder, entry, how, most) {
			continue
		}
		p.off.do(map[byte][]string{
			script.Left:   {"LPUSH", e.Key, e.Item},
			script.Right:  {"RPUSH", e.Key, e.Item},
			script.Set:    {"SADD", e.Key, e.Item},
			script.Sorted: {"ZADD", e.Key, e.Score, e.Item},
		}[e.Kind]...)
	}
}

// end ends a holder, by a caller that may die, and then by another one.
func (p *program) end(holder string, how lease.End) {
	p.Helper()
	if p.intN(8) == 0 {
		p.on.do("SCRIPT", "FLUSH")
	}
	dies := p.crash > 0
	_, err := p.rules.Settle(p.Context(), p.do, holder, how)
	if errors.Is(err, errCrash) && dies {
		p.crash = 0
		p.check()
		_, err = p.rules.Settle(p.Context(), p.do, holder, how)
	}
	p.crash = 0
	if err != nil {
		p.Fatal(err)
	}
	if n := len(p.held[holder]); n > 0 {
		p.Fatalf("%s is settled and holds %d items", holder, n)
	}
}

// lose has a front die with the reply to a pop, and gives its items back.
func (p *program) lose() {
	p.Helper()
	holder, want := choose(&p.chooser, holderIDs...), p.popping()
	args, of := p.rewrite(want.args, false, holder)
	reply := meant(p.ask(args, of), of)
	if p.refused(holder, of, reply) {
		return
	}
	p.compare(want, reply, p.off.do)
	p.took(holder, want, of, reply)
	if of == nil {
		return
	}
	before := len(p.held[holder])
	gave := 0
	for _, e := range p.held[holder] {
		if e.stamp == of.Stamp {
			gave++
		}
	}
	var n int
	var err error
	if p.intN(2) == 0 {
		n, err = lease.Undo(p.Context(), p.do, holder, of.Stamp)
	} else if n, err = p.rules.Unsure(p.Context(), p.do, holder, map[string]time.Time{}); gave == 0 {
		gave = n // of a pop before
	}
	if err != nil {
		p.Fatal(err)
	}
	if n != gave || len(p.held[holder]) != before-gave {
		p.Fatalf("%d items given back of %q, want %d", n, want.args, gave)
	}
}

// bury puts dead items back, or forgets them.
func (p *program) bury() {
	p.Helper()
	key := choose(&p.chooser, p.rules.Safe...)
	n := p.intN(3)
	items, err := lease.Dead(p.Context(), p.do, key, 0, n)
	if err != nil {
		p.Fatal(err)
	}
	if want := p.dead[key][:min(n, len(p.dead[key]))]; n > 0 && !slices.Equal(items, want) {
		p.Fatalf("dead in %s are %q, want %q", key, items, want)
	}
	// Where an item came from is known while one of its name is dead.
	items = slices.DeleteFunc(items, func(item string) bool { return item == "again" })
	drop := p.intN(2) == 0
	call := lease.Retry
	if drop {
		call = lease.Drop
	}
	if n, err := call(p.Context(), p.do, key, items...); err != nil || n != len(items) {
		p.Fatalf("%d items taken from the dead, want %d: %v", n, len(items), err)
	}
	for _, item := range items {
		i := slices.Index(p.dead[key], item)
		p.dead[key] = slices.Delete(p.dead[key], i, i+1)
		if drop {
			p.done[item]++
		} else {
			p.adopt(key, item)
		}
	}
}

// adopt notes an item that was put back, by where it is now.
func (p *program) adopt(key, item string) {
	p.Helper()
	switch key[0] {
	case 'l':
		all, err := value(p.on.do("LRANGE", key, "0", "-1"))
		list, _ := all.([]any)
		if err != nil || len(list) == 0 {
			p.Fatalf("%s is empty: %v", key, err)
		}
		left := slices.Index(list, any(item)) < slices.IndexFunc(list,
			func(v any) bool { return len(p.items[key]) > 0 && v == p.items[key][0].item })
		p.put(modelItem{key: key, item: item}, left)
		p.off.do(map[bool]string{true: "LPUSH", false: "RPUSH"}[left], key, item)
	case 's':
		p.put(modelItem{key: key, item: item}, false)
		p.off.do("SADD", key, item)
	default:
		reply := p.on.do("ZSCORE", key, item)
		text := strings.Trim(strings.TrimPrefix(reply[strings.IndexByte(reply, '\n')+1:], ","), "\r\n")
		if reply[0] == ',' {
			text = strings.Trim(reply[1:], "\r\n")
		}
		score, err := strconv.ParseFloat(text, 64)
		if err != nil {
			p.Fatalf("the score of %q is %q", item, reply)
		}
		p.put(modelItem{key, item, score}, false)
		p.off.do("ZADD", key, text, item)
	}
}

// check compares everything that is kept with the model.
func (p *program) check() {
	p.Helper()
	p.balance()
	for _, key := range []string{"l1", "l2", "l3", odd, "s1", "s3", "z1", "z2", "z3"} {
		read := map[byte][]string{
			'l': {"LRANGE", key, "0", "-1"}, 's': {"SMEMBERS", key}, 'z': {"ZRANGE", key, "0", "-1"},
		}[key[0]]
		var want []string
		for _, it := range p.items[key] {
			want = append(want, it.item)
		}
		on, off := members(p.on.do(read...)), members(p.off.do(read...))
		if key[0] == 's' {
			slices.Sort(on)
			slices.Sort(off)
			slices.Sort(want)
		}
		if !slices.Equal(on, want) || !slices.Equal(off, want) {
			p.Fatalf("%q holds %q with leases, %q without, want %q", key, on, off, want)
		}
		if dead := members(p.on.do("LRANGE", key+":dead", "0", "-1")); !slices.Equal(dead, p.dead[key]) {
			p.Fatalf("dead in %q are %q, want %q", key, dead, p.dead[key])
		}
	}
	p.checkHeld()
}

func (p *program) checkHeld() {
	p.Helper()
	dead, n, names := 0, 0, 0
	for _, holder := range holderIDs {
		texts := members(p.on.do("LRANGE", script.HeldPrefix+holder, "0", "-1"))
		if len(texts) != len(p.held[holder]) {
			p.Fatalf("%s holds %q, want %+v", holder, texts, p.held[holder])
		}
		for i, text := range texts {
			e, ok := script.Parse(text)
			want := p.held[holder][i]
			if !ok || e.Key != want.key || e.Item != want.item || e.Stamp != want.stamp {
				p.Fatalf("%s holds %q as number %d, want %+v", holder, text, i, want)
			}
		}
		n += len(p.live(holder))
		if len(texts) > 0 {
			names++
		}
	}
	for item, tries := range p.tries {
		if got := members(p.on.do("HGET", script.Tries, script.Field(item.key, item.item))); len(got) != 1 ||
			got[0] != strconv.Itoa(tries) {
			p.Fatalf("%+v came back %q times, want %d", item, got, tries)
		}
	}
	for _, all := range p.dead {
		dead += len(all)
	}
	for key, want := range map[string]int{script.Tries: len(p.tries), script.Holders: names} {
		if got := p.on.do("HLEN", key); got != fmt.Sprintf(":%d\r\n", want) {
			p.Fatalf("%s has %q fields, want %d", key, got, want)
		}
	}
	if got := p.on.do("HLEN", script.Died); got > fmt.Sprintf(":%d\r\n", dead) && len(got) >= len(fmt.Sprint(dead))+3 {
		p.Fatalf("%s has %q fields, of %d dead items", script.Died, got, dead)
	}
	page, next, err := p.rules.InFlight(p.Context(), doOf(p.on), "", 1_000)
	if err != nil || next != "" || len(page) != n {
		p.Fatalf("%d items in flight, next %q, %v, want %d", len(page), next, err, n)
	}
}
