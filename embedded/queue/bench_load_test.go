package queue

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	roundTime = 500 * time.Millisecond // a client sends nothing new after that
	roundMax  = 5 * time.Second        // replies that come later do not count
	fillMax   = 25 * time.Second
	fillDepth = 100 // commands between two writes
)

// loadRow is a row of the benchmark: what is there first, and what clients then do.
type loadRow struct {
	name    string
	once    bool // the same at any number of elements
	clients int
	depth   int // operations that a client sends before it reads
	replies int // to one operation
	share   int // one round does at most a share of n operations, 0 for no bound
	// fill appends the commands for elements from up to to.
	fill func(b []byte, from, to int) []byte
	// op appends operation i, of one that has not been before, at n elements.
	op func(b []byte, i, n int) []byte
	// measure does a round in its own way instead, and returns operations a second.
	measure func(server redisServer, n, first int) (float64, error)
}

// round returns the operations a second of one round, and notes how long the
// slowest exchange took. first is the number of its first operation. What was done
// before an error counts.
func (r loadRow) round(server redisServer, n, first int, slowest *atomic.Int64) (float64, error) {
	if r.measure != nil {
		return r.measure(server, n, first)
	}
	var next, done atomic.Int64
	most := int64(1 << 40)
	if r.share > 0 {
		most = int64(max(1, n/r.share))
	}
	start := time.Now()
	errs := make([]error, r.clients)
	var group sync.WaitGroup
	for i := range r.clients {
		group.Go(func() {
			errs[i] = withLoader(server, start.Add(roundMax), func(l *loader) error {
				for time.Since(start) < roundTime {
					from := next.Add(int64(r.depth)) - int64(r.depth)
					if from >= most {
						return nil
					}
					l.out = l.out[:0]
					for j := range r.depth {
						l.out = r.op(l.out, first+int(from)+j, n)
					}
					sent := time.Now()
					if err := l.exchange(r.depth * r.replies); err != nil {
						return err
					}
					raise(slowest, int64(time.Since(sent)))
					done.Add(int64(r.depth))
				}
				return nil
			})
		})
	}
	group.Wait()
	return float64(done.Load()) / time.Since(start).Seconds(), firstError(errs)
}

func raise(highest *atomic.Int64, n int64) {
	for before := highest.Load(); n > before && !highest.CompareAndSwap(before, n); before = highest.Load() {
	}
}

// firstError keeps a log short: clients of a server that hangs all say the same.
func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// fillUp sends what the row wants to be there.
func (r loadRow) fillUp(server redisServer, n int) error {
	if r.fill == nil {
		return nil
	}
	return withLoader(server, time.Now().Add(fillMax), func(l *loader) error {
		for from := 0; from < n; from += fillDepth * fillDepth {
			l.out = l.out[:0]
			commands := 0
			for i := from; i < min(n, from+fillDepth*fillDepth); i += fillDepth {
				before := len(l.out)
				l.out = r.fill(l.out, i, min(n, i+fillDepth))
				commands += countRequests(l.out[before:])
			}
			if err := l.exchange(commands); err != nil {
				return fmt.Errorf("fill at element %d: %w", from, err)
			}
		}
		return nil
	})
}

// countRequests counts what appendRequest made; no argument has a line break and a *.
func countRequests(b []byte) int { return 1 + bytes.Count(b, []byte("\r\n*")) }

// loader is a client that costs little: it builds requests in one buffer and
// skips replies.
type loader struct {
	*rawClient
	out []byte
}

func withLoader(server redisServer, deadline time.Time, do func(*loader) error) error {
	c, err := dialServer(server, 2)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(deadline)
	return do(&loader{rawClient: c})
}

// exchange writes what is in the buffer and skips n replies, at the same time
// where the server would not read on otherwise.
func (l *loader) exchange(n int) error {
	if len(l.out) < 32<<10 {
		if _, err := l.Write(l.out); err != nil {
			return err
		}
		return skipReplies(l.in, n)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := l.Write(l.out)
		wrote <- err
	}()
	err := skipReplies(l.in, n)
	if err != nil {
		l.Close()
	}
	return errors.Join(err, <-wrote)
}

func skipReplies(in *bufio.Reader, n int) error {
	for range n {
		if err := skipReply(in); err != nil {
			return err
		}
	}
	return nil
}

// skipReply fails when the reply is an error or has one in it.
func skipReply(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	switch line[0] {
	case '-':
		return fmt.Errorf("the server says %.100q", line)
	case '$':
		if n := smallNumber(line[1:]); n >= 0 {
			_, err = in.Discard(n + 2)
		}
	case '*', '>':
		err = skipReplies(in, max(0, smallNumber(line[1:])))
	}
	return err
}

func smallNumber(line []byte) int {
	n, err := strconv.Atoi(string(bytes.TrimRight(line, "\r\n")))
	if err != nil {
		return -1
	}
	return n
}

// scanRate measures items a second of scans from beginning to end, one after the other.
func scanRate(args ...string) func(redisServer, int, int) (float64, error) {
	at := len(args) - 3 // the cursor stands before COUNT 1000
	width := scanWidth(args[0])
	return func(server redisServer, _, _ int) (float64, error) {
		items := 0
		start := time.Now()
		cursor := "0"
		err := withLoader(server, start.Add(roundMax), func(l *loader) error {
			for time.Since(start) < roundTime || cursor != "0" && time.Since(start) < 2*roundTime {
				request := append([]string{}, args...)
				request[at] = cursor
				l.out = appendRequest(l.out[:0], request...)
				if _, err := l.Write(l.out); err != nil {
					return err
				}
				next, n, err := l.readPage()
				if err != nil {
					return err
				}
				if n > 10_000*width {
					return fmt.Errorf("a page of %d items: COUNT is ignored, so that others wait", n/width)
				}
				cursor, items = next, items+n/width
			}
			return nil
		})
		return float64(items) / time.Since(start).Seconds(), err
	}
}

// readPage reads a cursor and counts the items behind it.
func (l *loader) readPage() (cursor string, items int, err error) {
	var lines [4]string // *2, the cursor's length, the cursor, the number of items
	for i := range lines {
		if lines[i], err = l.in.ReadString('\n'); err != nil {
			return "", 0, err
		}
		if lines[i][0] == '-' {
			return "", 0, errors.New(lines[i])
		}
	}
	items = smallNumber([]byte(lines[3][1:]))
	return string(bytes.TrimSpace([]byte(lines[2]))), items, skipReplies(l.in, items)
}
