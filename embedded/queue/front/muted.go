package front

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"strings"
)

// mute is which replies a client has switched off with CLIENT REPLY.
type mute int

const (
	muteNone mute = iota
	muteNext      // that of the next request, of which the engine is told with that
	muteAll       // the engine knows
)

// begin begins with a request that is read whole.
func (s *session) begin() {
	s.silent = s.mute != muteNone
	if s.skips = s.mute == muteNext; s.skips {
		s.mute = muteNone
	}
}

// unseen reports whether the front does not see what a transaction's replies are.
func (s *session) unseen() bool { return s.uncounted || s.mute == muteAll }

// muted returns what to send for some requests, and how many replies the engine sends.
func (s *session) muted(b []byte, requests int) (_ []byte, replies int) {
	switch {
	case s.mute == muteAll:
		return b, 0
	case requests > 0 && (s.mute == muteNext || s.skips):
		return append(appendRequest(nil, "CLIENT", "REPLY", "SKIP"), b...), requests - 1
	}
	return b, requests
}

// skipped notes that this was sent.
func (s *session) skipped() {
	s.skips = false
	if s.mute == muteNext {
		s.mute = muteNone
	}
}

// unmuted returns what to send for a request whose reply the front wants: where replies are off, there is another one
// before it.
func (s *session) unmuted(args ...string) []byte {
	if s.mute != muteAll {
		return appendRequest(nil, args...)
	}
	all := appendRequest(nil, "CLIENT", "REPLY", "ON")
	return appendRequest(appendRequest(all, args...), "CLIENT", "REPLY", "OFF")
}

// setReplies implements CLIENT REPLY. The front has to know which requests have a reply.
func (s *session) setReplies(ctx context.Context, args []string) bool {
	mode := ""
	if len(args) == 3 {
		mode = strings.ToUpper(args[2])
	}
	switch {
	case !slices.Contains([]string{"ON", "OFF", "SKIP"}, mode):
		return s.sendOne(ctx, args)
	case s.multi, s.opaque:
		s.uncounted, s.opaque = true, true
		return s.sendOne(ctx, args)
	case mode == "ON":
		s.mute, s.silent, s.skips = muteNone, false, false // it is the first that has a reply
		return s.sendOne(ctx, args)
	case s.mute == muteAll:
		return true
	}
	if s.drain() != nil {
		return false
	}
	if s.uncounted {
		return s.sendOne(ctx, args)
	}
	reply, err := s.exchange(ctx, "CLIENT", "REPLY", "ON") // it may not know that, or not let the user
	switch {
	case err != nil:
		return s.fail(err)
	case reply[0] != '+':
		return s.say(reply)
	case mode == "SKIP":
		s.mute, s.skips = muteNext, false
		return true
	}
	s.mute, s.skips, s.kept = muteAll, false, true
	return s.sendOne(ctx, args)
}

// mark is a reply that the front has the engine make, to find where others are: whoever subscribes to something gets
// none, or several.
type mark struct {
	reply      []byte
	unmutes    bool // the engine says OK before, which is no reply for the client
	subscribed bool // the engine takes nothing but subscriptions, as in version 2 of the protocol
	done       chan struct{}
}

const (
	unmuteReply = "+OK\r\n"
	// subscribedReply begins that of a client that may only subscribe.
	subscribedReply = "*2\r\n$4\r\npong\r\n"
)

// at reports whether b begins with the mark, or what comes with it, and how long that is.
func (m *mark) at(b []byte) (n int, is state) {
	is = otherwise
	for _, own := range [][]byte{m.reply, append([]byte(subscribedReply), m.reply...), []byte(unmuteReply)} {
		switch {
		case len(own) == len(unmuteReply) && !m.unmutes:
		case bytes.HasPrefix(b, own):
			return len(own), whole
		case bytes.HasPrefix(own, b):
			is = partly
		}
	}
	return 0, is
}

// passed takes the mark, or what comes with it.
func (s *session) passed(l *link, m *mark, is []byte) {
	if string(is) == unmuteReply {
		m.unmutes = false
		return
	}
	m.subscribed = len(is) > len(m.reply)
	s.mu.Lock()
	defer s.mu.Unlock()
	l.mark, l.got, l.uncounted = nil, l.sent, m.subscribed
	close(m.done)
}

// resync waits until the client has all replies, after requests that have none or several. Then they are counted again,
// unless the client may only subscribe: then messages for it can't be told from replies.
func (s *session) resync() error {
	s.mu.Lock()
	l, ended := s.link, s.ended
	s.mu.Unlock()
	switch {
	case ended:
		return errLost
	case l == nil:
		s.uncounted = false
		return nil
	}
	word := rand.Text()
	m := &mark{done: make(chan struct{}), unmutes: s.mute == muteAll}
	m.reply = appendRequest(nil, word)[len("*1\r\n"):]
	if !s.count(l, 0, nil, m) {
		return errLost
	}
	if _, err := l.conn.Write(s.unmuted("PING", word)); err != nil {
		return s.writeFailed()
	}
	defer s.watchEnd(func() { s.leave(l) })()
	select {
	case <-m.done:
		s.uncounted = m.subscribed
		return nil
	case <-l.ended:
		return errLost
	}
}

// beginMulti notes that a transaction begins.
func (s *session) beginMulti() {
	if !s.multi {
		s.multi, s.place, s.dbThen = true, 0, s.db
	}
}

// multi implements MULTI of a client whose replies are to be counted again.
func multi(ctx context.Context, s *session, args []string) bool {
	if s.drain() != nil {
		return false
	}
	if !s.uncounted { // or the engine refuses it
		s.beginMulti()
	}
	return s.sendNoted(ctx, args)
}
