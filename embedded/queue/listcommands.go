package queue

import (
	"strconv"
	"strings"
)

func listPush(left, onlyExisting bool) func(*store, call) string {
	return func(s *store, c call) string {
		k := dbKey{c.db, c.args[1]}
		if onlyExisting {
			n, failed := s.length(k)
			if failed != "" || n == 0 {
				return orInt(failed, n)
			}
		}
		reply := s.push(k, left, c.args[2:])
		if !isError(reply) {
			s.effect(c.db, c.args...)
		}
		return reply
	}
}

func listPop(left bool) func(*store, call) string {
	return func(s *store, c call) string {
		if len(c.args) > 3 {
			return errWrongArgs(c.args[0])
		}
		count, single := 1, len(c.args) == 2
		if !single {
			var ok bool
			if count, ok = parseCount(c.args[2]); !ok {
				return replyError("ERR value is out of range, must be positive")
			}
		}
		k := dbKey{c.db, c.args[1]}
		n, failed := s.length(k)
		switch {
		case failed != "":
			return failed
		case n == 0 && single:
			return replyNull(c.resp3)
		case n == 0:
			return replyNullArray(c.resp3)
		case count == 0:
			return replyArrayLen(0)
		}
		items := s.pop(k, left, count)
		s.effect(c.db, c.args...)
		if single {
			return replyBulk(items[0])
		}
		return replyArray(items)
	}
}

func (s *store) listLen(c call) string {
	n, failed := s.length(dbKey{c.db, c.args[1]})
	return orInt(failed, n)
}

func (s *store) listRange(c call) string {
	start, err := strconv.Atoi(c.args[2])
	stop, err2 := strconv.Atoi(c.args[3])
	if err != nil || err2 != nil {
		return errNotInt
	}
	items, failed := s.slice(dbKey{c.db, c.args[1]}, start, stop)
	if failed != "" {
		return failed
	}
	return replyArray(items)
}

func (s *store) listIndex(c call) string {
	i, err := strconv.Atoi(c.args[2])
	if err != nil {
		return errNotInt
	}
	k := dbKey{c.db, c.args[1]}
	n, failed := s.length(k)
	if failed != "" {
		return failed
	}
	if i < -n || i >= n {
		return replyNull(c.resp3)
	}
	items, failed := s.slice(k, i, i)
	if failed != "" {
		return failed
	}
	return replyBulk(items[0])
}

// listMove is LMOVE and RPOPLPUSH.
func (s *store) listMove(c call) string {
	from, to := false, true
	if c.args[0] == "LMOVE" {
		var ok, ok2 bool
		from, ok = parseSide(c.args[3])
		to, ok2 = parseSide(c.args[4])
		if !ok || !ok2 {
			return errSyntax
		}
	}
	source, target := dbKey{c.db, c.args[1]}, dbKey{c.db, c.args[2]}
	n, failed := s.length(source)
	if failed != "" {
		return failed
	}
	if n == 0 {
		return replyNull(c.resp3)
	}
	if _, failed := s.length(target); failed != "" {
		return failed
	}
	if source == target && n == 1 { // popping would delete the key and its deadline
		items, _ := s.slice(source, 0, 0)
		return replyBulk(items[0])
	}
	items := s.pop(source, from, 1)
	s.push(target, to, items)
	s.effect(c.db, c.args...)
	return replyBulk(items[0])
}

// listMultiPop is LMPOP numkeys key … LEFT|RIGHT [COUNT n].
func (s *store) listMultiPop(c call) string {
	keys, rest, failed := numKeys(c.args[1:])
	if failed != "" {
		return failed
	}
	left, ok := parseSide(rest[0])
	count := 1
	switch {
	case ok && len(rest) == 3 && strings.EqualFold(rest[1], "COUNT"):
		if count, ok = parseCount(rest[2]); !ok || count == 0 {
			return replyError("ERR count should be greater than 0")
		}
	case !ok || len(rest) != 1:
		return errSyntax
	}
	for _, key := range keys {
		k := dbKey{c.db, key}
		n, failed := s.length(k)
		if failed != "" {
			return failed
		}
		if n > 0 {
			items := s.pop(k, left, count)
			s.effect(c.db, c.args...)
			return replyArrayLen(2) + replyBulk(key) + replyArray(items)
		}
	}
	return replyNullArray(c.resp3)
}

// numKeys splits numkeys key … rest; rest is not empty.
func numKeys(args []string) (keys, rest []string, failed string) {
	n, ok := parseCount(args[0])
	if !ok || n == 0 {
		return nil, nil, replyError("ERR numkeys should be greater than 0")
	}
	if len(args) < n+2 {
		return nil, nil, errSyntax
	}
	return args[1 : n+1], args[n+1:], ""
}

func orInt(failed string, n int) string {
	if failed != "" {
		return failed
	}
	return replyInt(int64(n))
}
