package queue

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// limits bound what one request may hold, so that a client cannot make the
// server set memory aside for what it only announces.
type limits struct {
	args   int   // arguments of a command
	size   int   // bytes of all of them
	breach error // what a request beyond them is answered with
}

var (
	// HELLO with all its options, the largest request that a stranger needs, has 7.
	strangerLimits = limits{args: 8, size: 8 << 10, breach: errTooLargeYet}
	clientLimits   = limits{args: 1 << 20, size: 64 << 20, breach: errTooLarge}
)

var (
	errProtocol    = errors.New("ERR Protocol error: expected an array of bulk strings")
	errTooLarge    = errors.New("ERR Protocol error: request is larger than the queue takes (64 MiB)")
	errTooLargeYet = errors.New("ERR Protocol error: request is larger than the queue takes before the password (8 words, 8 KiB)")
)

// isBreach says whether a client broke the protocol, and is told so.
func isBreach(err error) bool {
	return errors.Is(err, errProtocol) || errors.Is(err, errTooLarge) || errors.Is(err, errTooLargeYet)
}

// readRequest reads one command: an array of bulk strings, or a line of words as
// people type it into a terminal. It returns no words for an empty request.
func readRequest(r *bufio.Reader, lim limits) ([]string, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(line, "*") {
		if words := strings.Fields(line); len(words) <= lim.args {
			return words, nil
		}
		return nil, lim.breach
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil {
		return nil, errProtocol
	}
	if n > lim.args {
		return nil, lim.breach
	}
	args, left := make([]string, 0, max(0, min(n, 64))), lim.size
	for range n {
		arg, err := readBulk(r, left)
		if errors.Is(err, errTooLarge) {
			return nil, lim.breach
		}
		if err != nil {
			return nil, err
		}
		left -= len(arg)
		args = append(args, arg)
	}
	return args, nil
}

func readBulk(r *bufio.Reader, limit int) (string, error) {
	line, err := readLine(r)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(line, "$") {
		return "", errProtocol
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 {
		return "", errProtocol
	}
	if n > limit {
		return "", errTooLarge
	}
	body, err := readBody(r, n+2)
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(body, "\r\n") {
		return "", errProtocol
	}
	return body[:n], nil
}

// readBody grows with what arrives, not with what was announced.
func readBody(r *bufio.Reader, n int) (string, error) {
	if n <= 64<<10 {
		buf := make([]byte, n)
		_, err := io.ReadFull(r, buf)
		return string(buf), err
	}
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, r, int64(n)); err != nil {
		return "", err
	}
	return buf.String(), nil
}

// readLine reads up to a line feed; the line has to fit the reader's buffer.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errProtocol
	}
	if err != nil {
		return "", err
	}
	return string(bytes.TrimRight(line, "\r\n")), nil
}
