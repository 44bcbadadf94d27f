package front

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/queue/admission"
)

const (
	dialTimeout  = 5 * time.Second       // for a connection that the engine has taken a password on
	leastPause   = 50 * time.Millisecond // between two attempts while it can't be reached
	longestPause = time.Second
	askPause     = time.Second   // between two questions how it is doing
	farPause     = 10 * askPause // the same of another front: there is one on each machine
	askTimeout   = 10 * time.Second
	maxInfo      = 64 << 10 // bytes of an answer to the front itself
)

// engine connects to the engine, and knows whether that can be done.
type engine struct {
	prepare [][]string
	log     *slog.Logger

	mu     sync.Mutex
	target *target
	down   error         // why the last attempt failed; nil: it did not
	trying bool          // while it is down: somebody does
	again  time.Time     // when somebody may
	tried  chan struct{} // closed after the next attempt
	pause  time.Duration // after the next failure
	is     Progress
}

// target is an engine until another takes its place.
type target struct {
	Engine
	era context.Context // that ends then
	end context.CancelFunc
}

func newEngine(e Engine, rewriter Rewriter, log *slog.Logger) *engine {
	made := &engine{log: log, tried: make(chan struct{})}
	if rewriter != nil {
		made.prepare = rewriter.Prepare()
	}
	made.set(e)
	return made
}

// set has another engine take the place of the one before, whose connections end.
func (e *engine) set(to Engine) {
	era, end := context.WithCancel(context.Background())
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.target != nil {
		e.target.end()
	}
	e.target = &target{to, era, end}
	e.down, e.trying, e.pause, e.is = nil, false, leastPause, Progress{}
	close(e.tried)
	e.tried = make(chan struct{})
}

// now returns the engine of now.
func (e *engine) now() *target {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.target
}

func (e *engine) progress() Progress {
	e.mu.Lock()
	defer e.mu.Unlock()
	is := e.is
	if e.down != nil {
		is.Problem = e.down.Error()
	}
	return is
}

// connect returns a connection to the engine that is logged in, is in a database and has said greeting, whose answers
// may be no errors. It ends when another engine takes the place. While the engine can't be reached one at a time tries
// and others wait until it is their turn, all until ctx's deadline.
func (e *engine) connect(ctx context.Context, db int, greeting ...[]string) (net.Conn, *target, error) {
	for {
		t, wait, tried, err := e.turn()
		if wait > 0 {
			if waitFor(ctx, tried, wait) != nil {
				return nil, t, err
			}
			continue // others were told of the same turn
		}
		conn, err := e.attempt(ctx, t, slices.Concat(t.in(db), greeting))
		if err == nil {
			if e.note(t, nil) {
				return conn, t, nil
			}
			conn.Close()
			continue
		}
		deadline, ok := ctx.Deadline()
		late, gone := ok && time.Until(deadline) <= 0, errors.Is(ctx.Err(), context.Canceled)
		if last := e.lastError(); gone || late && last != nil {
			e.note(t, last) // that the caller has no more time says nothing of the engine
			return nil, t, cmp.Or(last, err)
		}
		e.note(t, err)
	}
}

// waitFor waits for a sign or some time. It returns ctx's error if that ends before.
func waitFor(ctx context.Context, sign <-chan struct{}, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-sign:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// turn returns the engine, how long the caller has to wait before it asks again, unless there was an attempt before,
// and the last failure. 0 is the caller's turn.
func (e *engine) turn() (t *target, wait time.Duration, tried <-chan struct{}, down error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down == nil {
		return e.target, 0, nil, nil
	}
	if e.trying {
		return e.target, dialTimeout, e.tried, e.down
	}
	if wait := time.Until(e.again); wait > 0 {
		return e.target, wait, e.tried, e.down
	}
	e.trying = true
	return e.target, 0, nil, e.down
}

func (e *engine) lastError() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.down
}

// note takes how an attempt went. It reports false where another engine has taken the place meanwhile.
func (e *engine) note(t *target, err error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.target != t {
		return false
	}
	was := e.down
	e.down, e.trying = err, false
	close(e.tried)
	e.tried = make(chan struct{})
	if err == nil {
		if was != nil {
			e.log.Info("the queue's engine is there again", "engine", t.Name)
		}
		e.pause = leastPause
		return true
	}
	if was == nil || was.Error() != err.Error() {
		e.log.Error("the queue's engine can't be used", "error", err)
	}
	e.again = time.Now().Add(e.pause)
	e.pause = min(2*e.pause, longestPause)
	return true
}

func (e *engine) attempt(ctx context.Context, t *target, greeting [][]string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer context.AfterFunc(t.era, cancel)()
	conn, err := t.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("the queue's engine at %s can't be reached (%s): %s", t.Name, cause(err),
			cmp.Or(t.Advice.Away, "start it, or correct its address"))
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := t.greet(conn, slices.Concat(greeting, e.prepare)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// greet logs in, and has the engine answer what does not fail while it can be used.
func (e *target) greet(conn net.Conn, greeting [][]string) error {
	var all [][]string
	if e.Password != "" {
		login := []string{"AUTH", e.User, e.Password}
		if e.User == "" {
			login = []string{"AUTH", e.Password}
		}
		all = append(all, login)
	}
	if e.Front {
		all = append(all, []string{Through})
	}
	all = append(append(all, greeting...), []string{"PING"})
	var request []byte
	for _, args := range all {
		request = appendRequest(request, args...)
	}
	if _, err := conn.Write(request); err != nil {
		return fmt.Errorf("the queue's engine at %s can't be used (%s): look at its log", e.Name, cause(err))
	}
	in := bufio.NewReaderSize(conn, 512)
	for _, args := range all {
		reply, failed, err := readReply(in)
		switch {
		case err != nil:
			return fmt.Errorf("the queue's engine at %s can't be used (%s): look at its log; does it want TLS?", e.Name,
				cause(err))
		case failed && args[0] == "AUTH" && isRefusal(reply):
			return fmt.Errorf("the queue's engine at %s refuses the user or password%s (%s): %s", e.Name, e.login(),
				oneLine(reply), cmp.Or(e.Advice.Refused, "correct them"))
		case failed && strings.HasPrefix(reply, "NOAUTH"):
			return fmt.Errorf("the queue's engine at %s wants a password, and there is none%s (%s): %s", e.Name,
				e.login(), oneLine(reply), cmp.Or(e.Advice.Refused, "set it"))
		case failed && e.Front && strings.HasPrefix(reply, downError{errors.New(ofEngine)}.Error()):
			return errors.New(oneLine(strings.TrimPrefix(reply, downError{errors.New("")}.Error()))) // it has said all
		case failed && !strings.HasPrefix(reply, "NOPERM"):
			return fmt.Errorf("the queue's engine at %s can't be used (%s to %s)", e.Name, oneLine(reply),
				args[0])
		}
	}
	return conn.SetDeadline(time.Time{})
}

// ofEngine is what each text begins with that says why an engine can't be used.
const ofEngine = "the queue's engine at "

// isRefusal reports whether an answer to AUTH is about the user and password, and not about an engine that is full, or
// protected, or loads its data.
func isRefusal(reply string) bool {
	return strings.HasPrefix(reply, "WRONGPASS") || strings.HasPrefix(reply, "ERR AUTH ") ||
		strings.HasPrefix(reply, "ERR invalid password") || strings.HasPrefix(reply, "ERR Client sent AUTH")
}

// login says where the user and password are from.
func (e *target) login() string {
	if e.Advice.Login == "" {
		return ""
	}
	return " " + e.Advice.Login
}

// in returns what a connection says first to be in a database.
func (e *target) in(db int) [][]string {
	begins := 0
	if e.Front {
		begins = e.DB
	}
	if db == begins {
		return nil
	}
	return [][]string{{"SELECT", strconv.Itoa(db)}}
}

// readReply reads a whole reply, of an error and a string only what is in it, and reports whether it is an error.
func readReply(in *bufio.Reader) (text string, failed bool, err error) {
	var r replies
	var reply []byte
	for {
		b, _ := in.Peek(in.Buffered())
		n, done, err := r.next(b)
		if err != nil || len(reply)+n > maxInfo || n == 0 && len(b) == in.Size() {
			return "", false, cmp.Or(err, errBadReply)
		}
		if !r.push {
			reply = append(reply, b[:n]...)
		}
		_, _ = in.Discard(n)
		if done && !r.push {
			break
		}
		if n > 0 && in.Buffered() > 0 {
			continue
		}
		if _, err := in.Peek(in.Buffered() + 1); err != nil {
			return "", false, err
		}
	}
	line, rest, _ := strings.Cut(string(reply), "\r\n")
	switch line[0] {
	case '$', '=', '!':
		return strings.TrimSuffix(rest, "\r\n"), r.failed, nil
	}
	return line[1:], r.failed, nil
}

// cause returns an error's text for an error of Redis.
func cause(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it closed the connection"
	}
	var op *net.OpError // of which the own port differs each time
	if errors.As(err, &op) && op.Op != "dial" {
		err = op.Err
	}
	return oneLine(err.Error())
}

// oneLine makes what somebody else says fit into an error of Redis.
func oneLine(text string) string {
	const most = 500
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), most)], " "))
	return text
}

// watch asks the engine how it is doing, until ctx ends. So it is known whether it can be used though there are no
// clients.
func (e *engine) watch(ctx context.Context) {
	for ctx.Err() == nil {
		greeting, cancel := context.WithTimeout(ctx, askTimeout)
		conn, t, err := e.connect(greeting, e.now().DB)
		cancel()
		if err == nil {
			err = e.ask(ctx, conn, t)
			conn.Close()
		}
		if err != nil && clock.Sleep(ctx, leastPause) != nil {
			return
		}
	}
}

// ask asks until the connection or ctx ends, or another engine takes the place.
func (e *engine) ask(ctx context.Context, conn net.Conn, t *target) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.era, cancel)()
	pause := askPause
	if t.Front {
		pause = farPause
	}
	defer context.AfterFunc(ctx, func() { admission.Innermost(conn).Close() })()
	in := bufio.NewReaderSize(conn, smallBuffer)
	for {
		if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
			return err
		}
		_, err := conn.Write(appendRequest(appendRequest(nil, "INFO", "memory"), "INFO", "keyspace"))
		if err != nil {
			return err
		}
		var is Progress
		for range 2 {
			text, failed, err := readReply(in)
			if err != nil {
				return err
			}
			if !failed {
				t.read(text, &is)
			}
		}
		e.mu.Lock()
		if e.target == t {
			e.is = is
		}
		e.mu.Unlock()
		if err := clock.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// read takes what INFO says.
func (e *target) read(text string, is *Progress) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch name {
		case "used_memory":
			is.Memory = max(0, n)
		case "maxmemory":
			is.Bound = max(0, n)
		case "db" + strconv.Itoa(e.DB):
			keys, _, _ := strings.Cut(strings.TrimPrefix(value, "keys="), ",")
			is.Keys, _ = strconv.ParseInt(keys, 10, 64)
		}
	}
}
