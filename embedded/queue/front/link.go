package front

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
)

// link is a client's connection to the engine. Whoever sends counts the requests, who copies the replies counts
// those.
type link struct {
	conn  net.Conn
	in    *source
	ended chan struct{}   // closed when the last reply has been copied
	era   context.Context // ends with another engine, and so does the link
	stop  func() bool     // waiting for that
	idle  chan struct{}   // has room for the word that all replies are there

	// Guarded by session.mu.
	sent, got uint64
	kept      bool // more than what can be repeated: the client has to hear of its end
	uncounted bool
	stream    bool
	left      bool     // nothing more is sent
	awaited   bool     // somebody waits for idle
	taker     *capture // who gets the next reply instead of the client
	mark      *mark    // that comes when all before is answered
}

// capture is a reply that the front itself wants.
type capture struct {
	reply []byte
	took  int // bytes of the share
	skip  int // replies that come before it
	done  chan struct{}
	err   error
}

// downError says that the engine can't be used, as clients are told.
type downError struct{ err error }

func (e downError) Error() string { return "LOADING " + e.err.Error() }

// send sends b, where so many requests begin, over the link, which is made where there is none. errLost means that
// the client's connection has to end; with any other error nothing was sent.
func (s *session) send(ctx context.Context, b []byte, requests int) error {
	l, err := s.linked(ctx)
	if err != nil {
		return err
	}
	muted, answered := s.muted(b, requests)
	if !s.count(l, uint64(answered), nil, nil) {
		return s.send(ctx, b, requests) // it was lost just now, without harm
	}
	s.skipped()
	if _, err := l.conn.Write(muted); err != nil {
		return s.writeFailed() // what copies the replies sees it too
	}
	return nil
}

func (s *session) writeFailed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
	return errLost
}

// linked returns the link.
func (s *session) linked(ctx context.Context) (*link, error) {
	s.mu.Lock()
	l, ended := s.link, s.ended
	ends := l != nil && (l.left || l.era.Err() != nil)
	s.mu.Unlock()
	switch {
	case ended:
		return nil, errLost
	case ends: // the client has left, but of what it sent before there is more, or there is another engine
		<-l.ended
		return s.linked(ctx)
	case l != nil:
		return l, nil
	}
	return s.connect(ctx)
}

// connect makes a link, on which the engine knows what it has to know of the client.
func (s *session) connect(ctx context.Context) (*link, error) {
	patience, cancel := context.WithTimeout(ctx, s.front.opts.Patience)
	defer cancel()
	var greeting [][]string
	if s.proto == 3 {
		greeting = append(greeting, []string{"HELLO", "3"})
	}
	if s.name != "" {
		greeting = append(greeting, []string{"CLIENT", "SETNAME", s.name})
	}
	conn, t, err := s.front.engine.connect(patience, s.db, greeting...)
	switch {
	case err != nil && ctx.Err() != nil: // the client has left
		return nil, errLost
	case err != nil:
		return nil, downError{err}
	}
	l := &link{
		conn:  conn,
		in:    newSource(conn, s.front.buffers),
		ended: make(chan struct{}),
		idle:  make(chan struct{}, 1),
		era:   t.era,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil { // cut has been
		conn.Close()
		return nil, errLost
	}
	s.link = l
	l.stop = context.AfterFunc(t.era, func() { admission.Innermost(conn).Close() })
	go s.copyReplies(l)
	return l, nil
}

// cut ends both connections at once.
func (s *session) cut() {
	admission.Innermost(s.client).Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		admission.Innermost(s.link.conn).Close()
	}
}

// leave tells the engine that no more is sent. What was sent before is done, and what it waits for is not.
func (s *session) leave(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.left = true
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		l.conn.Close()
	}
}

// watchEnd calls gone once the client has ended its connection, though it has sent something before. Nobody reads
// meanwhile until stop returns.
func (s *session) watchEnd(gone func()) (stop func()) {
	stopWatching := s.in.watchEnd(gone)
	return func() {
		stopWatching()
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.ended {
			_ = s.client.SetReadDeadline(s.readBy)
		}
	}
}

// count notes how many replies there will be to what is sent next. It reports false when the link is gone.
func (s *session) count(l *link, replies uint64, taker *capture, mark *mark) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l || l.left {
		return false
	}
	l.sent += replies
	l.kept = s.multi || s.watching || s.kept || s.mute != muteNone || s.skips || !s.requests.between()
	l.uncounted, l.stream = s.uncounted, s.stream
	l.taker, l.mark = taker, mark
	return true
}

// drain waits until the client has all replies that the engine owes it. It returns errLost when it does not get them.
func (s *session) drain() error {
	if s.uncounted && !s.opaque && !s.multi {
		if err := s.resync(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	l := s.link
	switch {
	case s.ended:
		s.mu.Unlock()
		return errLost
	case l == nil, l.uncounted, l.sent == l.got:
		s.mu.Unlock()
		return nil
	}
	l.awaited = true
	s.mu.Unlock()
	defer s.watchEnd(func() { s.leave(l) })()
	select {
	case <-l.idle:
		return nil
	case <-l.ended:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errLost
	}
	return nil
}

// do has the engine do a command that does not block, and returns its reply, which the client does not get. The
// client's earlier requests are answered first.
func (s *session) do(ctx context.Context, args ...string) (reply []byte, err error) {
	if err := s.drain(); err != nil {
		return nil, err
	}
	return s.exchange(ctx, args...)
}

// exchange is do where the client awaits no reply.
func (s *session) exchange(ctx context.Context, args ...string) (reply []byte, err error) {
	l, err := s.linked(ctx)
	if err != nil {
		return nil, err
	}
	c := &capture{done: make(chan struct{})}
	if s.mute == muteAll {
		c.skip = 1
	}
	if !s.count(l, uint64(1+c.skip), c, nil) {
		return s.exchange(ctx, args...)
	}
	defer func() { s.share.Give(c.took) }()
	if _, err := l.conn.Write(s.unmuted(args...)); err != nil {
		return nil, s.writeFailed()
	}
	select {
	case <-c.done:
		if c.err == nil && soften(c.reply) {
			_, why, _ := strings.Cut(oneLine(string(c.reply)), " ")
			return nil, downError{errors.New(strings.TrimSpace(why))}
		}
		return c.reply, c.err
	case <-l.ended:
		return nil, errLost
	}
}

// copyReplies passes the engine's replies on until the link ends.
func (s *session) copyReplies(l *link) {
	defer close(l.ended)
	defer l.stop()
	var r replies
	holds, err := false, error(nil)
	for err == nil {
		holds, err = s.copySome(l, &r, holds)
	}
	if holds {
		s.out.Unlock()
	}
	l.in.release()
	s.lose(l, r.left > 0, err)
	l.conn.Close()
}

// copySome passes on what has arrived. holds says that the client is in the middle of a reply, and nobody else may
// write to it.
func (s *session) copySome(l *link, r *replies, holds bool) (bool, error) {
	if err := l.in.wait(); err != nil {
		return holds, err
	}
	b := l.in.buffered()
	taker, mark, stream := s.expects(l)
	if stream {
		return s.copyStream(l, b, holds)
	}
	if taker != nil && !holds {
		n, err := s.capture(l, r, b, taker)
		_, _ = l.in.Discard(n)
		if n == 0 && err == nil {
			err = l.in.more()
		}
		return holds, err
	}
	n, own, got := 0, 0, uint64(0)
	is := otherwise // of what follows
	var bad error
	failed := false
	for n < len(b) && (taker == nil || r.left > 0) {
		begins := r.left == 0
		if begins && mark != nil {
			if own, is = mark.at(b[n:]); is != otherwise {
				break
			}
		}
		k, done, err := r.next(b[n:])
		if begins && done && r.failed {
			failed = soften(b[n:n+k]) || failed
		}
		n += k
		if done && !r.push {
			got++
		}
		if bad = err; k == 0 || bad != nil {
			break
		}
	}
	if n+own == 0 && bad == nil {
		return holds, l.in.more()
	}
	if failed {
		s.tellFailed()
	}
	var err error
	if n > 0 {
		if !holds {
			s.out.Lock()
		}
		err = s.write(b[:n])
		if holds = r.left > 0; !holds {
			s.out.Unlock()
		}
	}
	s.counted(l, got)
	if own > 0 {
		s.passed(l, mark, b[n:n+own])
	}
	_, _ = l.in.Discard(n + own)
	if bad != nil {
		err = bad
	}
	return holds, err
}

// copyStream passes on what has no replies in it. From then on nobody else may write to the client.
func (s *session) copyStream(l *link, b []byte, holds bool) (bool, error) {
	if !holds {
		s.out.Lock()
	}
	err := s.write(b)
	_, _ = l.in.Discard(len(b))
	return true, err
}

// expects returns who takes the next reply, the mark that is to come, and whether there are no replies any longer.
func (s *session) expects(l *link) (taker *capture, mark *mark, stream bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.taker, l.mark, l.stream
}

// counted notes replies that the client has.
func (s *session) counted(l *link, got uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.got += got
	if l.awaited && l.sent == l.got {
		l.awaited = false
		l.idle <- struct{}{}
	}
}

// capture keeps what b has of a reply for who takes it, and returns how much that is. What is none goes to the
// client.
func (s *session) capture(l *link, r *replies, b []byte, c *capture) (n int, err error) {
	n, done, err := r.next(b)
	if err != nil {
		return n, err
	}
	if r.push {
		s.out.Lock() // nobody else writes while the client waits
		defer s.out.Unlock()
		return n, s.write(b[:n])
	}
	if c.skip > 0 {
		if done {
			c.skip--
			s.counted(l, 1)
		}
		return n, nil
	}
	if c.err == nil && len(c.reply)+n > cap(c.reply) {
		more := max(n, len(c.reply))
		if s.share.Take(more) {
			c.took += more
			c.reply = append(make([]byte, 0, len(c.reply)+more), c.reply...)
		} else {
			c.err, c.reply = errNoRoom, nil
		}
	}
	if c.err == nil {
		c.reply = append(c.reply, b[:n]...)
	}
	if done {
		s.mu.Lock()
		l.taker = nil
		l.got++
		s.mu.Unlock()
		close(c.done)
	}
	return n, nil
}

// lose takes the end of a link. A client that waits for nothing does not hear of it.
func (s *session) lose(l *link, within bool, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return
	}
	s.link = nil
	if l.sent == l.got && !l.kept && !l.uncounted && !within {
		return
	}
	s.ended = true
	s.failed = s.failed || !l.left
	if !errors.Is(why, net.ErrClosed) {
		s.front.log.Debug("a client lost its connection to the queue's engine", "client", s.client.RemoteAddr(),
			"error", why)
	}
	_ = s.client.SetReadDeadline(time.Unix(1, 0)) // it has to end
}

// unlink ends the link after what was sent is answered, for which there is some time.
func (s *session) unlink(patience time.Duration) {
	s.mu.Lock()
	l := s.link
	s.link = nil
	s.mu.Unlock()
	if l == nil {
		return
	}
	defer l.conn.Close()
	s.leave(l)
	timer := time.AfterFunc(patience, func() { l.conn.Close() })
	defer timer.Stop()
	<-l.ended
}
