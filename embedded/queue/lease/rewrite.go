package lease

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// Pop is what a pop becomes. It is not to be changed.
type Pop struct {
	Args    []string // to send in its place
	Nothing string   // the reply that stands for a null, which says that there was nothing
	Stamp   string   // of its entries, for [Undo]

	Keys   []string // where items may come from, each once
	Leased []string // of these, the safe ones

	Blocks  bool          // the client waits for an item
	Timeout time.Duration // for how long; 0: for ever
	// Linger is how long a pop that does not block waits while others hold items of its
	// leased keys; 0: not at all.
	Linger time.Duration

	// Single says that the same command, sent several times in a row, may be done at once:
	// see [Pop.Times].
	Single bool
}

// Where things are in Args.
const (
	argName  = 0 // EVALSHA or EVAL
	argBody  = 1 // the script's name or text
	fixed    = 3 // keys before those that are popped
	argCount = 4 // from the end
	options  = 2 // from the end
)

// Again returns what to send to try once more while the client waits: a key that holds
// something else is passed over then, as Redis does.
func (p *Pop) Again() []string {
	again := Pop{Args: slices.Clone(p.Args)}
	again.option('w')
	return again.Args
}

// Plain returns what to send where the client gets the reply as it is: no error that it knows nothing of.
func (p *Pop) Plain() []string {
	plain := Pop{Args: p.Eval(p.Args)}
	plain.option('x')
	return plain.Args
}

// option sets what is different about a pop; see take.lua.
func (p *Pop) option(o byte) {
	all := &p.Args[len(p.Args)-options]
	*all = (*all)[:2] + string(o) + (*all)[3:]
}

// Eval returns what to send where Args, or what was made of it, was answered by NOSCRIPT.
func (p *Pop) Eval(args []string) []string {
	args = slices.Clone(args)
	args[argName], args[argBody] = "EVAL", script.Take.Text
	return args
}

// Times returns what to send in place of n of the same pops in a row, all of one connection
// and none of them in a transaction. Where [Pop.Single] holds, the reply is an array of the
// replies of the first ones; the others found nothing. They count as one pop: none of them
// ends the lease of another.
func (p *Pop) Times(n int) []string {
	args := slices.Clone(p.Args)
	args[len(args)-argCount] = strconv.Itoa(n)
	o := &args[len(args)-options]
	shape := "a"
	if (*o)[0] == 'a' {
		shape = "p"
	}
	*o = shape + (*o)[1:]
	return args
}

// request is a pop as it was asked for.
type request struct {
	keys    []string
	pop     string // the command for one key
	count   int
	shape   byte // see take.lua
	nothing string
	single  bool
	blocks  bool
	timeout time.Duration
}

// kinds says of each pop what kind its entries are.
var kinds = map[string]byte{
	"LPOP": script.Left, "RPOP": script.Right, "SPOP": script.Set, "ZPOPMIN": script.Sorted, "ZPOPMAX": script.Sorted,
}

// Replies that say that there is nothing, in version 2 of the protocol.
const (
	null      = "$-1\r\n"
	nullArray = "*-1\r\n"
	null3     = "_\r\n" // in version 3
	noItems   = "*0\r\n"
	noMembers = "~0\r\n" // in version 3
)

// Rewrite says what to send in place of a command of a client, nil for the command itself:
// it does not pop, nothing that it pops is safe, or it is one that the engine refuses. v3
// says that the client speaks version 3 of the protocol; now is the time of the pop.
//
// inMulti says that the command is queued for a transaction. Then it waits for nothing, its
// place in EXEC's reply has to be replaced by Nothing if it is null, and the two commands are
// leases too by which Scrapy's queues pop, ZREMRANGEBYRANK of one end and LTRIM of the head.
func (r Rules) Rewrite(args []string, inMulti, v3 bool, holder Holder, now time.Time) *Pop {
	if len(r.Safe) == 0 || len(args) < 2 || len(args[0]) < 4 || len(args[0]) > len("ZREMRANGEBYRANK") {
		return nil
	}
	parse := parsers[strings.ToUpper(args[0])]
	if parse == nil {
		return nil
	}
	req, ok := parse(strings.ToUpper(args[0]), args[1:], v3)
	if !ok || !inMulti && strings.IndexByte("on", req.shape) >= 0 {
		return nil
	}
	p := &Pop{
		Nothing: req.nothing,
		Stamp:   strconv.FormatInt(now.UnixMicro(), 36) + "." + holder.Conn,
		Blocks:  req.blocks && !inMulti,
		Timeout: req.timeout,
		Single:  req.single && !inMulti,
	}
	if v3 && (p.Nothing == null || p.Nothing == nullArray) {
		p.Nothing = null3
	}
	leased := r.pick(p, req.keys)
	if len(p.Leased) == 0 {
		return nil
	}
	if r.Linger && !inMulti && !p.Blocks {
		p.Linger = lingerFor
	}
	p.Args = r.take(p, req, leased, v3, holder)
	if inMulti {
		p.Args[argName], p.Args[argBody] = "EVAL", script.Take.Text
		p.option('x')
	}
	return p
}

// pick notes the keys of a pop, each once, and returns for each whether it is leased.
func (r Rules) pick(p *Pop, keys []string) string {
	if len(keys) == 1 {
		p.Keys = keys
		if r.Leased(keys[0]) {
			p.Leased = keys
		}
		return "1"
	}
	var leased strings.Builder
	seen := make(map[string]struct{}, len(keys))
	for _, key := range keys {
		if _, known := seen[key]; known {
			continue
		}
		seen[key] = struct{}{}
		p.Keys = append(p.Keys, key)
		if r.Leased(key) {
			p.Leased = append(p.Leased, key)
			leased.WriteByte('1')
		} else {
			leased.WriteByte('0')
		}
	}
	return leased.String()
}

func (r Rules) take(p *Pop, req request, leased string, v3 bool, holder Holder) []string {
	version := "2"
	if v3 {
		version = "3"
	}
	out := make([]string, 0, 3+fixed+len(p.Keys)+6)
	out = append(out, "EVALSHA", script.Take.SHA, strconv.Itoa(fixed+len(p.Keys)),
		script.HeldPrefix+holder.ID, script.Holders, script.Tries)
	out = append(out, p.Keys...)
	return append(out, string(kinds[req.pop])+p.Stamp, req.pop, strconv.Itoa(req.count), strconv.Itoa(r.Window),
		string(req.shape)+version+"-"+leased, holder.about)
}

// parser reads the arguments of a command, and reports false for those that the engine
// refuses, or that pop nothing.
type parser func(name string, args []string, v3 bool) (request, bool)

var parsers = map[string]parser{
	"LPOP": parsePop, "RPOP": parsePop, "SPOP": parsePop, "ZPOPMIN": parsePop, "ZPOPMAX": parsePop,
	"BLPOP": parseBlocking, "BRPOP": parseBlocking, "BZPOPMIN": parseBlocking, "BZPOPMAX": parseBlocking,
	"LMPOP": parseMulti, "ZMPOP": parseMulti, "BLMPOP": parseMulti, "BZMPOP": parseMulti,
	"ZREMRANGEBYRANK": parseRanks, "LTRIM": parseTrim,
}

// Commands returns the commands, in capitals, that [Rules.Rewrite] has to see.
func Commands() []string { return slices.Sorted(maps.Keys(parsers)) }

// parsePop reads key [count].
func parsePop(name string, args []string, v3 bool) (request, bool) {
	q := request{keys: args[:1], pop: name, count: 1, shape: 'i', nothing: null, single: true}
	sorted := name[0] == 'Z'
	if sorted {
		q.shape, q.nothing = 'a', noItems
	}
	if len(args) == 1 {
		return q, true
	}
	n, ok := argument.Int(args[1])
	if len(args) > 2 || !ok || n < 1 {
		return q, false
	}
	q.count, q.single = int(n), false
	switch {
	case sorted && v3:
		q.shape = 'p'
	case sorted:
	case name == "SPOP" && v3:
		q.shape, q.nothing = 's', noMembers
	case name == "SPOP":
		q.shape, q.nothing = 's', noItems
	default:
		q.shape, q.nothing = 'a', nullArray
	}
	return q, true
}

// parseBlocking reads key … timeout.
func parseBlocking(name string, args []string, _ bool) (request, bool) {
	if len(args) < 2 {
		return request{}, false
	}
	timeout, number, ok := argument.Seconds(args[len(args)-1])
	return request{
		keys:    args[:len(args)-1],
		pop:     name[1:],
		count:   1,
		shape:   'k',
		nothing: nullArray,
		blocks:  true,
		timeout: timeout,
	}, number && ok
}

// parseMulti reads [timeout] numkeys key … LEFT|RIGHT|MIN|MAX [COUNT n].
func parseMulti(name string, args []string, _ bool) (request, bool) {
	q := request{count: 1, shape: 'm', nothing: nullArray}
	if name[0] == 'B' {
		timeout, number, ok := argument.Seconds(args[0])
		if !number || !ok {
			return q, false
		}
		q.timeout = timeout
		q.blocks, name, args = true, name[1:], args[1:]
	}
	if len(args) < 3 {
		return q, false
	}
	n, ok := argument.Int(args[0])
	if !ok || n < 1 || n >= int64(len(args)-1) {
		return q, false
	}
	q.keys = args[1 : 1+n]
	ends := map[string]string{"LEFT": "LPOP", "RIGHT": "RPOP"}
	if name[0] == 'Z' {
		ends = map[string]string{"MIN": "ZPOPMIN", "MAX": "ZPOPMAX"}
	}
	rest := args[1+n:]
	if q.pop = ends[strings.ToUpper(rest[0])]; q.pop == "" {
		return q, false
	}
	switch rest = rest[1:]; {
	case len(rest) == 0:
		return q, true
	case len(rest) != 2 || !strings.EqualFold(rest[0], "COUNT"):
		return q, false
	}
	n, ok = argument.Int(rest[1])
	q.count = int(n)
	return q, ok && n >= 1
}

// parseRanks reads key start stop where that is one end of a sorted set.
func parseRanks(_ string, args []string, _ bool) (request, bool) {
	q := request{keys: args[:1], shape: 'n', nothing: ":0\r\n"}
	start, stop, ok := twoInts(args)
	switch {
	case !ok:
	case start == 0 && stop >= 0 && stop < math.MaxInt32:
		q.pop, q.count = "ZPOPMIN", int(stop)+1
	case start < 0 && start > -math.MaxInt32 && stop == -1:
		q.pop, q.count = "ZPOPMAX", int(-start)
	}
	return q, q.count > 0
}

// parseTrim reads key n -1, which takes n items off the head.
func parseTrim(_ string, args []string, _ bool) (request, bool) {
	start, stop, ok := twoInts(args)
	q := request{keys: args[:1], pop: "LPOP", count: int(start), shape: 'o', nothing: "+OK\r\n"}
	return q, ok && start > 0 && stop == -1
}

func twoInts(args []string) (a, b int64, ok bool) {
	if len(args) != 3 {
		return 0, 0, false
	}
	a, ok1 := argument.Int(args[1])
	b, ok2 := argument.Int(args[2])
	return a, b, ok1 && ok2
}
