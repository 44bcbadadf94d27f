package queue

import (
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// databases is how many numbered databases there are, as in Redis.
const databases = 16

// call is one command of a client, args[0] in upper case.
type call struct {
	db    int
	resp3 bool
	args  []string
}

// store is the data: it runs commands one at a time and notes the effect of
// each as commands that make the same change whenever they are replayed. It is
// not safe for concurrent use.
type store struct {
	lists
	expiry  *expiry
	now     func() time.Time
	effects []journal.Command
}

func newStore() (*store, error) {
	e, err := newEngine()
	if err != nil {
		return nil, err
	}
	s := &store{
		lists:  lists{engine: e, heads: map[dbKey][]string{}},
		expiry: newExpiry(),
		now:    time.Now,
	}
	return s, nil
}

func (s *store) unixMilli() int64 { return s.now().UnixMilli() }

// exec runs c and returns the reply. The command has to be in the table.
func (s *store) exec(c call) string {
	cmd := commands[c.args[0]]
	if !cmd.arityOK(len(c.args)) {
		return errWrongArgs(c.args[0])
	}
	now := s.unixMilli()
	for key := range cmd.keysOf(c.args) {
		s.expireKey(dbKey{c.db, key}, now)
	}
	reply := s.apply(cmd, c)
	if cmd.deadlines { // the new deadline may be in the past
		for key := range cmd.keysOf(c.args) {
			s.expireKey(dbKey{c.db, key}, now)
		}
	}
	return reply
}

// apply is exec without a look at the clock.
func (s *store) apply(cmd *command, c call) string {
	if cmd.run != nil {
		return cmd.run(s, c)
	}
	return s.pass(c)
}

// pass hands c to miniredis as it is and notes it as its own effect.
func (s *store) pass(c call) string {
	cmd := commands[c.args[0]]
	s.foldKeys(cmd, c)
	reply := s.run(c.db, c.resp3, c.args)
	if !cmd.write || isError(reply) || cmd.unchanged(reply) {
		return reply
	}
	s.effect(c.db, c.args...)
	if cmd.deadlines {
		for key := range cmd.keysOf(c.args) {
			s.track(dbKey{c.db, key})
		}
	}
	if c.args[0] == "DEL" || c.args[0] == "UNLINK" {
		for _, key := range c.args[1:] {
			s.expiry.forget(dbKey{c.db, key})
		}
	}
	return reply
}

func (s *store) foldKeys(cmd *command, c call) {
	if len(s.heads) == 0 {
		return
	}
	for key := range cmd.keysOf(c.args) {
		s.fold(dbKey{c.db, key})
	}
}

func (s *store) effect(db int, args ...string) {
	s.effects = append(s.effects, journal.Command{DB: db, Args: args})
}

// takeEffects returns what was noted since the last time.
func (s *store) takeEffects() []journal.Command {
	effects := s.effects
	s.effects = nil
	return effects
}

// replay makes the change that a noted effect stands for.
func (s *store) replay(cmd journal.Command) error {
	known := commands[cmd.Args[0]]
	if known == nil || !known.write || !known.arityOK(len(cmd.Args)) || cmd.DB >= databases {
		return &replayError{cmd.Args[0], "not a write command of this version"}
	}
	reply := s.apply(known, call{db: cmd.DB, args: cmd.Args})
	s.effects = s.effects[:0]
	if isError(reply) {
		return &replayError{cmd.Args[0], strings.TrimSpace(reply[1:])}
	}
	return nil
}

func (s *store) replayBatch(batch []journal.Command) error {
	for _, cmd := range batch {
		if err := s.replay(cmd); err != nil {
			return err
		}
	}
	return nil
}

type replayError struct{ name, reason string }

func (e *replayError) Error() string { return "command " + e.name + ": " + e.reason }

// track notes the deadline that key has in miniredis.
func (s *store) track(k dbKey) {
	if at, ok := s.deadline(k); ok {
		s.expiry.set(k, at)
		return
	}
	s.expiry.forget(k)
}

func (s *store) deadline(k dbKey) (int64, bool) {
	at, ok := parseInt(s.ask(k.db, "PEXPIRETIME", k.key))
	return at, ok && at >= 0
}

// expireKey deletes k when its time has come.
func (s *store) expireKey(k dbKey, now int64) {
	if !s.expiry.due(k, now) {
		return
	}
	at, ok := s.deadline(k)
	if ok && at > now {
		s.expiry.set(k, at)
		return
	}
	s.expiry.forget(k)
	if ok {
		delete(s.heads, k)
		s.ask(k.db, "DEL", k.key)
		s.effect(k.db, "DEL", k.key)
	}
}

// expireSome deletes up to limit keys whose time has come.
func (s *store) expireSome(limit int) {
	now := s.unixMilli()
	for range limit {
		k, ok := s.expiry.next(now)
		if !ok {
			return
		}
		s.expireKey(k, now)
	}
}
