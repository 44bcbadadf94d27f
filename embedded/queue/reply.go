package queue

import (
	"strconv"
	"strings"
)

// Replies are encoded text in the Redis protocol.
const (
	replyOK     = "+OK\r\n"
	replyQueued = "+QUEUED\r\n"
)

func replyInt(n int64) string     { return ":" + strconv.FormatInt(n, 10) + "\r\n" }
func replyBulk(s string) string   { return "$" + strconv.Itoa(len(s)) + "\r\n" + s + "\r\n" }
func replyArrayLen(n int) string  { return "*" + strconv.Itoa(n) + "\r\n" }
func replyStatus(s string) string { return "+" + s + "\r\n" }
func isError(reply string) bool   { return strings.HasPrefix(reply, "-") }
func replyError(msg string) string {
	return "-" + strings.NewReplacer("\r", " ", "\n", " ").Replace(msg) + "\r\n"
}

func replyNull(resp3 bool) string {
	if resp3 {
		return "_\r\n"
	}
	return "$-1\r\n"
}

func replyNullArray(resp3 bool) string {
	if resp3 {
		return "_\r\n"
	}
	return "*-1\r\n"
}

func replyMapLen(n int, resp3 bool) string {
	if resp3 {
		return "%" + strconv.Itoa(n) + "\r\n"
	}
	return replyArrayLen(2 * n)
}

func replyArray(items []string) string {
	var b strings.Builder
	b.WriteString(replyArrayLen(len(items)))
	for _, item := range items {
		writeBulk(&b, item)
	}
	return b.String()
}

func writeBulk(b *strings.Builder, s string) {
	b.WriteByte('$')
	b.WriteString(strconv.Itoa(len(s)))
	b.WriteString("\r\n")
	b.WriteString(s)
	b.WriteString("\r\n")
}

// isNull matches the null of both protocol versions and the empty array.
func isNull(reply string) bool {
	switch reply {
	case "$-1\r\n", "*-1\r\n", "_\r\n", "*0\r\n":
		return true
	}
	return false
}

func errWrongArgs(name string) string {
	return replyError("ERR wrong number of arguments for '" + strings.ToLower(name) + "' command")
}

const (
	errReloading = "-LOADING crawlbox's queue is loading its data again: try in a moment\r\n"
	errNotInt    = "-ERR value is not an integer or out of range\r\n"
	errSyntax    = "-ERR syntax error\r\n"
)

// parseInt reads an integer reply.
func parseInt(reply string) (int64, bool) {
	digits, ok := strings.CutPrefix(reply, ":")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(digits, "\r\n"), 10, 64)
	return n, err == nil
}

// parseStrings reads the bulk strings of a reply, flattened: of a null it
// returns none, of a single string that one.
func parseStrings(reply string) []string {
	var out []string
	for len(reply) > 0 {
		head, rest, _ := strings.Cut(reply, "\r\n")
		reply = rest
		if head[0] != '$' {
			continue
		}
		n, err := strconv.Atoi(head[1:])
		if err != nil || n < 0 || n+2 > len(rest) {
			continue
		}
		out = append(out, rest[:n])
		reply = rest[n+2:]
	}
	return out
}
