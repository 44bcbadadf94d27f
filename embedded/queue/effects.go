package queue

import (
	"strconv"
	"strings"
)

// setPop notes which members it took: SPOP picks them by chance.
func (s *store) setPop(c call) string {
	reply := s.run(c.db, c.resp3, c.args)
	members := parseStrings(reply)
	if !isError(reply) && len(members) > 0 {
		s.effect(c.db, append([]string{"SREM", c.args[1]}, members...)...)
	}
	return reply
}

// storeMembers is SINTERSTORE and its kin, by way of read. miniredis' own
// delete the target before they look at the types, or leave what the key held
// before in place.
func storeMembers(read string) func(*store, call) string {
	return func(s *store, c call) string {
		reply := s.ask(c.db, append([]string{read}, c.args[2:]...)...)
		if isError(reply) {
			return reply
		}
		members := parseStrings(reply)
		s.replace(dbKey{c.db, c.args[1]}, "SADD", members)
		return replyInt(int64(len(members)))
	}
}

// storeScores is ZINTERSTORE and ZUNIONSTORE, likewise.
func storeScores(read string) func(*store, call) string {
	return func(s *store, c call) string {
		reply := s.ask(c.db, append(append([]string{read}, c.args[2:]...), "WITHSCORES")...)
		if isError(reply) {
			return reply
		}
		pairs := parseStrings(reply)
		for i := 0; i+1 < len(pairs); i += 2 {
			pairs[i], pairs[i+1] = pairs[i+1], pairs[i]
		}
		s.replace(dbKey{c.db, c.args[1]}, "ZADD", pairs)
		return replyInt(int64(len(pairs) / 2))
	}
}

// replace deletes k and adds items to it, if there are any.
func (s *store) replace(k dbKey, add string, items []string) {
	s.pass(call{db: k.db, args: []string{"DEL", k.key}})
	if len(items) > 0 {
		s.pass(call{db: k.db, args: append([]string{add, k.key}, items...)})
	}
}

// bitOp clears the target's deadline, which miniredis keeps.
func (s *store) bitOp(c call) string {
	reply := s.pass(c)
	if !isError(reply) && len(c.args) > 2 {
		s.pass(call{db: c.db, args: []string{"PERSIST", c.args[2]}})
	}
	return reply
}

// streamAdd notes the id that miniredis chose. The id is checked here because
// miniredis makes the stream before it does.
func (s *store) streamAdd(c call) string {
	i := streamIDIndex(c.args)
	if i >= len(c.args)-1 || (len(c.args)-i)%2 == 0 {
		return errWrongArgs(c.args[0])
	}
	args := append([]string(nil), c.args...)
	if args[i] == "*" {
		args[i] = strconv.FormatInt(s.unixMilli(), 10) + "-*"
	}
	if !validStreamID(args[i]) {
		return replyError("ERR Invalid stream ID specified as stream command argument")
	}
	reply := s.run(c.db, c.resp3, args)
	if isError(reply) || isNull(reply) {
		return reply
	}
	args[i] = parseStrings(reply)[0]
	s.effect(c.db, args...)
	return reply
}

// streamIDIndex skips XADD's options: key [NOMKSTREAM] [MAXLEN|MINID [=|~] n] id.
func streamIDIndex(args []string) int {
	i := 2
	at := func() string {
		if i < len(args) {
			return strings.ToUpper(args[i])
		}
		return ""
	}
	if at() == "NOMKSTREAM" {
		i++
	}
	if at() == "MAXLEN" || at() == "MINID" {
		i++
		if at() == "=" || at() == "~" {
			i++
		}
		i++
	}
	return i
}

func validStreamID(id string) bool {
	ms, seq, hasSeq := strings.Cut(id, "-")
	if !isDigits(ms) || hasSeq && seq != "*" && !isDigits(seq) {
		return false
	}
	return strings.Trim(id, "0-") != ""
}

func isDigits(s string) bool {
	return s != "" && len(s) <= 19 && strings.Trim(s, "0123456789") == ""
}

// script runs Lua. What it calls comes back through nested, one by one, and
// notes its own effects.
func (s *store) script(c call) string {
	s.nested = func(args []string) string {
		cmd, ok := commands[args[0]]
		if !ok || isScript(args[0]) {
			return refuse(args[0], args[1:])
		}
		inner := call{db: c.db, args: args}
		if cmd.block != nil {
			return s.try(inner)
		}
		return s.exec(inner)
	}
	defer func() { s.nested = nil }()
	return s.run(c.db, c.resp3, c.args)
}

func (s *store) flushAll(c call) string {
	reply := s.run(c.db, c.resp3, c.args)
	if isError(reply) {
		return reply
	}
	clear(s.heads)
	s.expiry = newExpiry()
	s.effect(c.db, "FLUSHALL")
	return reply
}

func (s *store) flushDB(c call) string {
	reply := s.run(c.db, c.resp3, c.args)
	if isError(reply) {
		return reply
	}
	s.dropDB(c.db)
	s.effect(c.db, "FLUSHDB")
	return reply
}

func isScript(name string) bool {
	return strings.HasPrefix(name, "EVAL") || name == "SCRIPT"
}
