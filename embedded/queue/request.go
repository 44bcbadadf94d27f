package queue

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// request is a blocking command taken apart: what to try, and what to wait for
// when there is nothing yet. miniredis' own blocking commands are not used, so
// that nobody holds a lock while waiting and every pop is an ordinary command in
// the journal.
type request struct {
	keys    []dbKey
	timeout time.Duration // 0: for ever; negative: does not wait at all
	shared  bool          // several waiters may be served by the same item
	empty   string        // the reply when time is up
	try     func(*store) (reply string, done bool)
}

// try runs a blocking command where waiting is not possible: in a transaction
// and in a script.
func (s *store) try(c call) string {
	cmd := commands[c.args[0]]
	if !cmd.arityOK(len(c.args)) {
		return errWrongArgs(c.args[0])
	}
	r, failed := cmd.block(s, c)
	if failed != "" {
		return failed
	}
	reply, done := r.try(s)
	if !done {
		return r.empty
	}
	return reply
}

// blockPop is BLPOP and its kin: key … timeout.
func blockPop(name string) func(*store, call) (request, string) {
	return func(s *store, c call) (request, string) {
		last := len(c.args) - 1
		timeout, failed := parseTimeout(c.args[last])
		keys := c.args[1:last]
		return request{
			keys: dbKeys(c.db, keys), timeout: timeout, empty: replyNullArray(c.resp3),
			try: func(s *store) (string, bool) {
				for _, key := range keys {
					reply := s.exec(call{db: c.db, resp3: c.resp3, args: []string{name, key}})
					if isError(reply) {
						return reply, true
					}
					if !isNull(reply) {
						return withKey(key, reply), true
					}
				}
				return "", false
			},
		}, failed
	}
}

// withKey puts the name of the key in front of a popped item.
func withKey(key, reply string) string {
	if pair, ok := strings.CutPrefix(reply, "*2\r\n"); ok { // member and score
		return replyArrayLen(3) + replyBulk(key) + pair
	}
	return replyArrayLen(2) + replyBulk(key) + reply
}

// blockMove is BLMOVE and BRPOPLPUSH: source target … timeout.
func blockMove(s *store, c call) (request, string) {
	last := len(c.args) - 1
	timeout, failed := parseTimeout(c.args[last])
	args := append([]string(nil), c.args[:last]...)
	args[0] = map[string]string{"BLMOVE": "LMOVE", "BRPOPLPUSH": "RPOPLPUSH"}[args[0]]
	return request{
		keys: dbKeys(c.db, args[1:2]), timeout: timeout, empty: replyNull(c.resp3), try: tryCommand(c, args),
	}, failed
}

// blockTimeoutFirst is BLMPOP and BZMPOP: timeout numkeys key … rest.
func blockTimeoutFirst(name string) func(*store, call) (request, string) {
	return func(s *store, c call) (request, string) {
		timeout, failed := parseTimeout(c.args[1])
		if failed != "" {
			return request{}, failed
		}
		keys, _, failed := numKeys(c.args[2:])
		args := append([]string{name}, c.args[2:]...)
		return request{
			keys: dbKeys(c.db, keys), timeout: timeout, empty: replyNullArray(c.resp3), try: tryCommand(c, args),
		}, failed
	}
}

// blockRead is XREAD [COUNT n] [BLOCK ms] STREAMS key … id ….
func blockRead(s *store, c call) (request, string) {
	args, timeout := []string{"XREAD"}, time.Duration(-1)
	i := 1
	for ; i+1 < len(c.args) && !strings.EqualFold(c.args[i], "STREAMS"); i += 2 {
		switch strings.ToUpper(c.args[i]) {
		case "COUNT":
			args = append(args, c.args[i:i+2]...)
		case "BLOCK":
			ms, err := strconv.ParseInt(c.args[i+1], 10, 64)
			if err != nil || ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
				return request{}, replyError("ERR timeout is not an integer or out of range")
			}
			timeout = time.Duration(ms) * time.Millisecond
		default:
			return request{}, errSyntax
		}
	}
	if i >= len(c.args) || !strings.EqualFold(c.args[i], "STREAMS") {
		return request{}, errSyntax
	}
	streams := append([]string(nil), c.args[i+1:]...)
	if len(streams) == 0 || len(streams)%2 != 0 {
		return request{}, replyError("ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.")
	}
	keys, ids := streams[:len(streams)/2], streams[len(streams)/2:]
	for n, id := range ids {
		if id == "$" {
			ids[n] = s.lastStreamID(dbKey{c.db, keys[n]})
		}
	}
	args = append(append(args, "STREAMS"), streams...)
	return request{
		keys: dbKeys(c.db, keys), timeout: timeout, shared: true, empty: replyNullArray(c.resp3), try: tryCommand(c, args),
	}, ""
}

func (s *store) lastStreamID(k dbKey) string {
	info := parseStrings(s.ask(k.db, "XINFO", "STREAM", k.key))
	for i := 0; i+1 < len(info); i++ {
		if info[i] == "last-generated-id" && info[i+1] != "" {
			return info[i+1]
		}
	}
	return "0-0"
}

// tryCommand tries the form of a command that does not block.
func tryCommand(c call, args []string) func(*store) (string, bool) {
	return func(s *store) (string, bool) {
		inner := call{db: c.db, resp3: c.resp3, args: args}
		if args[0] == "XREAD" {
			reply := s.pass(inner)
			return reply, !isNull(reply)
		}
		reply := s.exec(inner)
		return reply, !isNull(reply)
	}
}

func dbKeys(db int, keys []string) []dbKey {
	out := make([]dbKey, len(keys))
	for i, key := range keys {
		out[i] = dbKey{db, key}
	}
	return out
}

// parseTimeout reads seconds, with a fraction.
func parseTimeout(s string) (time.Duration, string) {
	seconds, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || math.IsNaN(seconds) || seconds > math.MaxInt64/float64(time.Second):
		return 0, replyError("ERR timeout is not a float or out of range")
	case seconds < 0:
		return 0, replyError("ERR timeout is negative")
	case seconds > 0:
		return max(time.Duration(seconds*float64(time.Second)), time.Millisecond), ""
	}
	return 0, ""
}
