package front

import (
	"fmt"

	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

// longestName is that of a command; what is longer is no command that the front knows.
const longestName = 32

// requests finds where the requests of a client begin. Of those that are passed on it keeps two numbers, so
// that it goes on in the middle of one.
type requests struct {
	args int64 // to come of the request under way
	skip int64 // bytes to come of the argument under way, with its end
}

// between reports whether no request is under way.
func (q *requests) between() bool { return q.args == 0 && q.skip == 0 }

// rest goes on in b to the end of the request under way, or as far as b has it, and returns how far. It reports false
// where the request is not written as client libraries do.
func (q *requests) rest(b []byte) (n int, ok bool) {
	for {
		if q.skip > 0 {
			k := min(q.skip, int64(len(b)-n))
			n += int(k)
			if q.skip -= k; q.skip > 0 {
				return n, true
			}
		}
		if q.args == 0 {
			return n, true
		}
		length, k, state := lengthOf(b[n:], '$')
		switch state {
		case partly:
			return n, true
		case otherwise:
			return n, false
		}
		n += k
		q.args--
		q.skip = length + 2
	}
}

// notAnArgument says why what follows is none.
func notAnArgument(b []byte) error {
	if b[0] != '$' {
		return resp.Error(fmt.Sprintf("expected '$', got '%c'", b[0]))
	}
	return resp.Error("invalid bulk length")
}

// state is how much of something there is.
type state int

const (
	whole     state = iota
	partly          // more has to come
	otherwise       // it is something else
)

// lengthOf reads a line such as *3\r\n, and how long that is.
func lengthOf(b []byte, kind byte) (length int64, n int, is state) {
	const most = 10 // digits
	if len(b) == 0 {
		return 0, 0, partly
	}
	if b[0] != kind {
		return 0, 0, otherwise
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case '0' <= c && c <= '9' && i <= most && (i == 1 || b[1] != '0'):
			length = 10*length + int64(c-'0')
		case c == '\r' && i > 1:
			if i+1 == len(b) {
				return 0, 0, partly
			}
			if b[i+1] != '\n' || length > maxLengthOf(kind) {
				return 0, 0, otherwise
			}
			return length, i + 2, whole
		default:
			return 0, 0, otherwise
		}
	}
	return 0, 0, partly
}

// maxLengthOf returns the bounds that Redis has.
func maxLengthOf(kind byte) int64 {
	if kind == '$' {
		return 512 << 20
	}
	return 1<<31 - 1
}

// head is the beginning of a request.
type head struct {
	args int64 // with the name
	rest int64 // that follow the head
	size int   // bytes of the head
	len  int   // of the name
	name [longestName]byte
}

// readHead reads how many arguments a request has and its name, in capitals. A longer name is left
// empty, and not part of the size.
func readHead(b []byte, h *head) state {
	args, n, is := lengthOf(b, '*')
	if is != whole {
		return is
	}
	length, k, is := lengthOf(b[n:], '$')
	if is != whole {
		return is
	}
	if args < 1 {
		return otherwise
	}
	if length > longestName {
		*h = head{args: args, rest: args, size: n}
		return whole
	}
	n += k
	end := n + int(length)
	if end+2 > len(b) {
		return partly
	}
	if b[end] != '\r' || b[end+1] != '\n' {
		return otherwise
	}
	h.args, h.rest, h.size, h.len = args, args-1, end+2, int(length)
	for i, c := range b[n:end] {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		h.name[i] = c
	}
	return whole
}
