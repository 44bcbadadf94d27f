// Package ask is how the process of the queue learns of containers, about which it can find out nothing
// itself: it asks its node two questions over a connection that it inherited, and no others. Who has the
// other end of a client's connection, and how did that container end. Package holder answers.
//
// It knows neither Docker nor the node, so that what parses the bytes of spiders has no more in it.
package ask

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

var (
	// ErrGone is returned by all questions once the node no longer answers: it has ended, and with it
	// should the process.
	ErrGone = errors.New("crawlbox no longer answers")
	// ErrUnknown is wrapped where the node can't tell now: it is asked too much, or Docker does not
	// answer.
	ErrUnknown = errors.New("crawlbox can't tell whose connection it is")
)

// Client asks. It is safe for concurrent use.
type Client struct {
	conn io.ReadWriteCloser

	writing sync.Mutex

	mu    sync.Mutex
	last  uint64                 // number of a question
	who   map[uint64]chan Answer // those that wait
	ended map[Run]*waiting       // the same
	gone  bool
}

// waiting are those who wait for the end of one run.
type waiting struct {
	over   chan struct{} // closed when ending is there
	ending Ending
	err    error
}

// New returns a client that asks over a connection, which it closes when the other side ends it or says what
// is no answer.
func New(conn io.ReadWriteCloser) *Client {
	c := &Client{conn: conn, who: map[uint64]chan Answer{}, ended: map[Run]*waiting{}}
	go c.read()
	return c
}

// Close ends all questions with ErrGone.
func (c *Client) Close() error { return c.conn.Close() }

// Who returns the container that has the other end of an accepted connection, whose own address is remote
// and which is connected to local. found is false where that is in no container of this machine: on
// another machine, in a program of this one, or gone. accepted is when the connection was: a container that
// began later is not it. The caller must keep its end open meanwhile, and where it has failed since,
// the answer says nothing: its addresses may be another's.
//
// The error is ErrUnknown, ErrGone or that of ctx.
func (c *Client) Who(ctx context.Context, local, remote netip.AddrPort, accepted time.Time) (h Holder, found bool,
	err error) {
	since, err := sinceBoot(accepted)
	if err != nil {
		return h, false, err
	}
	answer := make(chan Answer, 1)
	number, err := c.enter(answer)
	if err != nil {
		return h, false, err
	}
	defer c.leave(number)
	err = c.write(Question{Number: number, Who: &Connection{Local: local, Remote: remote, Since: since}})
	if err != nil {
		return h, false, err
	}
	select {
	case a, ok := <-answer:
		switch {
		case !ok:
			return h, false, ErrGone
		case a.Problem != "":
			return h, false, fmt.Errorf("%w: %s", ErrUnknown, a.Problem)
		case a.Holder == nil:
			return h, false, nil
		}
		return *a.Holder, true, nil
	case <-ctx.Done():
		return h, false, ctx.Err()
	}
}

func (c *Client) enter(answer chan Answer) (number uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return 0, ErrGone
	}
	c.last++
	c.who[c.last] = answer
	return c.last, nil
}

func (c *Client) leave(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.who, number)
}

// Ended waits until a run of a container has ended, and says how. All who wait for the same share one
// question, which goes on when ctx of one of them ends. The error is ErrUnknown where too many are asked
// for, ErrGone or that of ctx.
func (c *Client) Ended(ctx context.Context, run Run) (Ending, error) {
	w, first, err := c.await(run)
	if err != nil {
		return Ending{}, err
	}
	if first {
		if err := c.write(Question{Ended: &run}); err != nil {
			return Ending{}, err // read ends too
		}
	}
	select {
	case <-w.over:
		return w.ending, w.err
	case <-ctx.Done():
		return Ending{}, ctx.Err()
	}
}

func (c *Client) await(run Run) (w *waiting, first bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil, false, ErrGone
	}
	if w := c.ended[run]; w != nil {
		return w, false, nil
	}
	w = &waiting{over: make(chan struct{})}
	c.ended[run] = w
	return w, true, nil
}

func (c *Client) write(q Question) error {
	line, err := json.Marshal(q)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		c.conn.Close()
		return ErrGone
	}
	return nil
}

func (c *Client) read() {
	defer c.end()
	for lines := bound.NewStream(c.conn, MaxLine); ; {
		var a Answer
		if lines.Next(&a) != nil {
			return
		}
		c.take(a)
	}
}

func (c *Client) take(a Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.Ended == nil {
		if answer := c.who[a.Number]; answer != nil {
			answer <- a
			delete(c.who, a.Number)
		}
		return
	}
	w := c.ended[*a.Ended]
	if w == nil {
		return
	}
	switch {
	case a.Problem != "":
		w.err = fmt.Errorf("%w: %s", ErrUnknown, a.Problem)
	case a.Ending != nil:
		w.ending = *a.Ending
	}
	close(w.over)
	delete(c.ended, *a.Ended)
}

// end tells all that the node is gone.
func (c *Client) end() {
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for _, answer := range c.who {
		close(answer)
	}
	for _, w := range c.ended {
		w.err = ErrGone
		close(w.over)
	}
	clear(c.who)
	clear(c.ended)
}

// sinceBoot returns when t was, by the clock that the kernel has for the beginning of processes.
func sinceBoot(t time.Time) (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(now.Nano()) - time.Since(t), nil
}
