package queue

import (
	"slices"
	"strconv"
	"strings"
)

// Every deadline goes to miniredis and to the journal as a Unix time in
// milliseconds, so that it means the same at a replay.

// maxDeadline is the end of what miniredis can hold: a duration of 292 years.
const maxDeadline = 9_200_000_000_000

// deadlineFrom turns the number s, in units of unit milliseconds, into a Unix
// time; base is 0 when s is one already.
func deadlineFrom(s string, unit, base int64) (at int64, notInt, outOfRange bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, true, false
	}
	if n > maxDeadline/unit || n < -maxDeadline/unit || n*unit+base > maxDeadline {
		return 0, false, true
	}
	return n*unit + base, false, false
}

func errExpireTime(name string) string {
	return replyError("ERR invalid expire time in '" + strings.ToLower(name) + "' command")
}

func expireIn(unit int64) func(*store, call) string {
	return func(s *store, c call) string { return s.expireFrom(c, unit, s.unixMilli()) }
}

func expireAt(unit int64) func(*store, call) string {
	return func(s *store, c call) string { return s.expireFrom(c, unit, 0) }
}

func (s *store) expireFrom(c call, unit, base int64) string {
	at, notInt, outOfRange := deadlineFrom(c.args[2], unit, base)
	if notInt {
		return errNotInt
	}
	if outOfRange {
		return errExpireTime(c.args[0])
	}
	at = max(at, 1) // the past; 0 and less would delete without a trace in the journal
	c.args = append([]string{"PEXPIREAT", c.args[1], strconv.FormatInt(at, 10)}, c.args[3:]...)
	reply := s.run(c.db, c.resp3, c.args)
	if reply == ":1\r\n" {
		s.effect(c.db, c.args...)
		s.track(dbKey{c.db, c.args[1]})
	}
	return reply
}

// timeLeft is TTL (unit 1000) and PTTL (unit 1).
func timeLeft(unit int64) func(*store, call) string {
	return func(s *store, c call) string {
		at, ok := parseInt(s.ask(c.db, "PEXPIRETIME", c.args[1]))
		if !ok || at < 0 {
			return replyInt(at)
		}
		return replyInt((max(at-s.unixMilli(), 0) + unit/2) / unit)
	}
}

func (s *store) set(c call) string {
	args, failed := s.absoluteTimes(c.args, 3)
	if failed != "" {
		return failed
	}
	c.args = args
	key := dbKey{c.db, args[1]}
	s.fold(key)
	reply := s.run(c.db, c.resp3, args)
	if isError(reply) || isNull(reply) && !hasOption(args[3:], "GET") { // null: NX or XX not met
		return reply
	}
	s.effect(c.db, args...)
	s.track(key)
	return reply
}

// absoluteTimes replaces EX, PX and EXAT by PXAT in args[from:].
func (s *store) absoluteTimes(args []string, from int) ([]string, string) {
	for i := from; i < len(args); i++ {
		unit, base := int64(1), int64(0)
		switch strings.ToUpper(args[i]) {
		case "EX":
			unit, base = 1000, s.unixMilli()
		case "PX":
			base = s.unixMilli()
		case "EXAT":
			unit = 1000
		case "PXAT":
		default:
			continue
		}
		if i+1 == len(args) {
			return nil, errSyntax
		}
		at, notInt, outOfRange := deadlineFrom(args[i+1], unit, base)
		if notInt {
			return nil, errNotInt
		}
		if outOfRange || at <= base {
			return nil, errExpireTime(args[0])
		}
		changed := append([]string(nil), args...)
		changed[i], changed[i+1] = "PXAT", strconv.FormatInt(at, 10)
		args = changed
		i++
	}
	return args, ""
}

// setEx is SETEX (unit 1000) and PSETEX (unit 1).
func setEx(unit int64) func(*store, call) string {
	option := map[int64]string{1: "PX", 1000: "EX"}[unit]
	return func(s *store, c call) string {
		args, failed := s.absoluteTimes([]string{c.args[0], c.args[1], c.args[3], option, c.args[2]}, 3)
		if failed != "" {
			return failed
		}
		args[0] = "SET"
		return s.set(call{db: c.db, resp3: c.resp3, args: args})
	}
}

// getEx sets the deadline only after a look at the type: miniredis does it the
// other way round.
func (s *store) getEx(c call) string {
	args, failed := s.absoluteTimes(c.args, 2)
	if failed != "" {
		return failed
	}
	reply := s.run(c.db, c.resp3, []string{"GET", args[1]})
	if isError(reply) || isNull(reply) || len(args) == 2 {
		return reply
	}
	change := []string{"PERSIST", args[1]}
	switch {
	case len(args) == 4 && args[2] == "PXAT":
		change = []string{"PEXPIREAT", args[1], args[3]}
	case len(args) != 3 || !strings.EqualFold(args[2], "PERSIST"):
		return errSyntax
	}
	s.pass(call{db: c.db, args: change})
	return reply
}

func (s *store) time(call) string {
	now := s.now()
	return replyArray([]string{
		strconv.FormatInt(now.Unix(), 10),
		strconv.Itoa(now.Nanosecond() / 1000),
	})
}

func hasOption(args []string, name string) bool {
	return slices.ContainsFunc(args, func(arg string) bool { return strings.EqualFold(arg, name) })
}
