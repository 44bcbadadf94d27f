package front

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// errBadReply says that the engine does not speak Redis' protocol.
var errBadReply = errors.New("the engine's reply is not of the Redis protocol")

const (
	maxLength = 20        // digits of a length, with room
	maxCount  = 1<<31 - 1 // elements, or bytes, that are announced at once
)

// replies finds where the replies of an engine end, in both versions of the protocol. Nothing is kept of them but
// two numbers, so that it goes on in the middle of one.
type replies struct {
	left   int64 // values to come of the reply under way, however deep; 0: none is under way
	skip   int64 // bytes to come of a string, with its end
	inLine bool  // in a line whose end is to come
	push   bool  // the reply is none: the engine sends it on its own
	failed bool  // the reply is an error
}

// next goes on in b to the end of the reply, or as far as b has it, and returns how far. Where it gets nowhere, b has
// too little.
func (r *replies) next(b []byte) (n int, done bool, err error) {
	if r.left == 0 {
		if len(b) == 0 {
			return 0, false, nil
		}
		r.left, r.push, r.failed = 1, b[0] == '>', b[0] == '-' || b[0] == '!'
	}
	for r.left > 0 {
		switch {
		case r.skip > 0:
			k := min(r.skip, int64(len(b)-n))
			n += int(k)
			if r.skip -= k; r.skip > 0 {
				return n, false, nil
			}
			r.left--
			continue
		case n == len(b):
			return n, false, nil
		case r.inLine:
			end := bytes.IndexByte(b[n:], '\n')
			if end < 0 {
				return len(b), false, nil
			}
			n += end + 1
			r.inLine = false
			r.left--
			continue
		}
		k, err := r.header(b[n:])
		if k == 0 || err != nil {
			return n, false, err
		}
		n += k
	}
	return n, true, nil
}

// What an engine says that takes no writes for now, as the replica that it has become or without one, and what is as
// long, which client libraries try again after. Of a script more comes behind it.
const (
	noReplicas  = "-NOREPLICAS Not enough good replicas to write."
	replicaLess = "-LOADING a replica is awaited; soon try again."
	readOnly    = "-READONLY You can't write against a read only replica."
	isReplica   = "-LOADING it is a read only replica now; soon try again"
)

// notNow are codes of errors by which an engine says that it can't do what it is asked, and may soon: it reads its
// data, or waits for a replica, or to hear that it is the primary.
var notNow = [...]string{"LOADING ", "NOREPLICAS ", "READONLY ", "MASTERDOWN "}

// aborted begins an error of EXEC for such a reason.
const aborted = "EXECABORT Transaction discarded because of: "

// soften reports whether a reply is such an error, and has it be LOADING in its place.
func soften(reply []byte) bool {
	switch {
	case reply[0] != '-':
		return false
	case bytes.HasPrefix(reply, []byte(noReplicas)):
		copy(reply, replicaLess)
		return true
	case bytes.HasPrefix(reply, []byte(readOnly)):
		copy(reply, isReplica)
		return true
	}
	code, _, _ := bytes.Cut(reply[1:], []byte(" "))
	why := bytes.TrimPrefix(reply[1:], []byte(aborted))
	for _, known := range notNow {
		if bytes.HasPrefix(why, []byte(known)) {
			copy(code, fmt.Sprintf("%-*s", len(code), "LOADING"))
			return true
		}
	}
	return false
}

// header takes the first line of a value and returns its length, 0 where its end is to come.
func (r *replies) header(b []byte) (n int, err error) {
	switch b[0] {
	case '+', '-', ':', '_', ',', '#', '(':
		r.inLine = true
		return 1, nil
	case '$', '=', '!', '*', '~', '>', '%', '|':
	default:
		return 0, errBadReply
	}
	count, n, ok := number(b)
	switch {
	case !ok && len(b) > maxLength:
		return 0, errBadReply
	case !ok:
		if bytes.IndexByte(b, '\n') >= 0 {
			return 0, errBadReply
		}
		return 0, nil
	case count < 0: // null
		r.left--
		return n, nil
	}
	switch b[0] {
	case '$', '=', '!':
		r.skip = count + 2
	case '*', '~', '>':
		r.left += count - 1
	case '%':
		r.left += 2*count - 1
	case '|': // goes before the value that counts
		r.left += 2 * count
	}
	return n, nil
}

// number reads a length such as $10\r\n, and how long that is. -1 is one too.
func number(b []byte) (count int64, n int, ok bool) {
	for i := 1; i < len(b) && i < maxLength; i++ {
		switch c := b[i]; {
		case '0' <= c && c <= '9':
			if count = 10*count + int64(c-'0'); count > maxCount || i > 1 && b[1] == '0' {
				return 0, 0, false
			}
		case c == '-' && i == 1 && len(b) >= 5:
			return -1, 5, string(b[2:5]) == "1\r\n"
		case c == '\r' && i > 1 && i+1 < len(b):
			return count, i + 2, b[i+1] == '\n'
		default:
			return 0, 0, false
		}
	}
	return 0, 0, false
}

// appendRequest writes a command as client libraries do.
func appendRequest[T string | []byte](to []byte, args ...T) []byte {
	to = append(strconv.AppendInt(append(to, '*'), int64(len(args)), 10), "\r\n"...)
	for _, arg := range args {
		to = append(strconv.AppendInt(append(to, '$'), int64(len(arg)), 10), "\r\n"...)
		to = append(append(to, arg...), "\r\n"...)
	}
	return to
}
