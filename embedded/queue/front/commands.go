package front

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
)

// command is one that the front does not merely pass on.
type command struct {
	anyone bool // allowed without a password
	own    bool // done without the engine

	// run does a command that was read whole, and reports false when the connection has to end.
	run func(ctx context.Context, s *session, args []string) bool
	// note remembers a command that is passed on, with so many arguments; it reports true, and remembers nothing,
	// where it has to be run. nil: it always is.
	note func(s *session, args int64) bool
}

// tableOf returns the commands that are not merely passed on.
func tableOf(o Options) map[string]*command {
	table := map[string]*command{}
	if r := o.Rewriter; r != nil {
		for _, name := range r.Commands() {
			table[name] = &command{run: rewrite}
		}
	}
	for _, name := range []string{
		"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE",
	} {
		table[name] = &command{note: func(s *session, _ int64) bool { s.uncounted, s.kept = true, true; return false }}
	}
	table["MONITOR"] = &command{note: func(s *session, _ int64) bool {
		s.uncounted, s.opaque = true, true
		return false
	}}
	table["MULTI"] = &command{run: multi, note: func(s *session, _ int64) bool {
		if s.uncounted && !s.opaque && !s.multi {
			return true
		}
		s.beginMulti()
		return false
	}}
	table["DISCARD"] = &command{note: func(s *session, _ int64) bool { s.forgetQueued(); return false }}
	table["EXEC"] = &command{run: execute, note: func(s *session, _ int64) bool {
		if s.aborted || len(s.queued) > 0 {
			return true
		}
		s.forgetQueued()
		return false
	}}
	table["WATCH"] = &command{note: func(s *session, _ int64) bool { s.watching = true; return false }}
	table["UNWATCH"] = &command{note: func(s *session, _ int64) bool {
		s.watching = s.multi // then it is queued
		s.place++
		return false
	}}

	table[Through] = &command{run: passThrough, own: true}
	table["AUTH"] = &command{run: auth, anyone: true, own: true}
	table["HELLO"] = &command{run: hello, anyone: true}
	table["QUIT"] = &command{run: quit, anyone: true, own: true}
	table["RESET"] = &command{run: reset, anyone: true, own: true}
	table["SELECT"] = &command{run: choose}
	table["CLIENT"] = &command{run: client}
	if o.Unrestricted {
		stream := &command{note: func(s *session, _ int64) bool {
			s.uncounted, s.opaque, s.stream = true, true, true
			return false
		}}
		table["SYNC"], table["PSYNC"] = stream, stream
		return table
	}
	for _, name := range []string{
		"BGREWRITEAOF", "BGSAVE", "DEBUG", "FAILOVER", "MIGRATE", "PSYNC", "REPLCONF", "REPLICAOF", "SAVE", "SHUTDOWN",
		"SLAVEOF", "SYNC",
	} {
		table[name] = &command{run: refuse, own: true}
	}
	table["ACL"] = only("WHOAMI", "CAT", "GENPASS", "HELP")
	table["CLUSTER"] = only("INFO", "SLOTS", "SHARDS", "NODES", "MYID", "KEYSLOT", "COUNTKEYSINSLOT", "GETKEYSINSLOT",
		"LINKS", "HELP")
	table["MODULE"] = only("LIST", "HELP")
	table["SCRIPT"] = only("LOAD", "EXISTS", "FLUSH", "KILL", "SHOW", "HELP")
	table["CONFIG"] = &command{run: config}
	return table
}

// refuse answers a command that could hurt the engine.
func refuse(ctx context.Context, s *session, args []string) bool {
	name := strings.ToUpper(args[0])
	if len(args) > 1 && slices.Contains([]string{"ACL", "CLIENT", "CLUSTER", "CONFIG", "MODULE", "SCRIPT"}, name) {
		name += " " + strings.ToUpper(args[1][:min(len(args[1]), 32)])
	}
	return s.refuse(ctx, "NOPERM "+name+" is not passed on to the queue's engine: have it done where the engine runs")
}

// refuse answers a command with an error; in a transaction, that fails as well.
func (s *session) refuse(ctx context.Context, text string) bool {
	if s.multi && s.unseen() { // the engine has it fail
		return s.sendOne(ctx, []string{"CRAWLBOX.REFUSED"})
	}
	s.aborted = s.multi
	return s.sayError(text)
}

// only passes some subcommands on.
func only(subs ...string) *command {
	return &command{run: func(ctx context.Context, s *session, args []string) bool {
		if len(args) > 1 && !slices.Contains(subs, strings.ToUpper(args[1])) {
			return refuse(ctx, s, args)
		}
		return s.sendOne(ctx, args)
	}}
}

// config passes on questions for single settings that are no secret.
func config(ctx context.Context, s *session, args []string) bool {
	if len(args) < 3 || strings.ToUpper(args[1]) != "GET" {
		return refuse(ctx, s, args)
	}
	for _, name := range args[2:] {
		name = strings.ToLower(name)
		if strings.ContainsAny(name, `*?[\`) {
			return s.refuse(ctx, "NOPERM CONFIG GET of many settings is not passed on to the queue's engine: "+
				"name single ones")
		}
		if strings.Contains(name, "pass") || strings.Contains(name, "auth") || strings.Contains(name, "user") {
			return s.refuse(ctx, "NOPERM CONFIG GET of what is secret is not passed on to the queue's engine")
		}
	}
	return s.sendOne(ctx, args)
}

func auth(ctx context.Context, s *session, args []string) bool {
	if s.multi {
		return s.refuse(ctx, errNotInMulti)
	}
	if refusal := s.front.passwords.Auth(ctx, &s.guest, args); refusal != "" {
		return s.sayError(refusal)
	}
	return s.say([]byte("+OK\r\n"))
}

const errNotInMulti = "ERR Command not allowed inside a transaction"

// hello logs the client in and has the engine greet it.
func hello(ctx context.Context, s *session, args []string) bool {
	if s.multi {
		return s.refuse(ctx, errNotInMulti)
	}
	h, refusal := admission.ParseHello(args)
	if refusal == "" {
		refusal = s.front.passwords.Hello(ctx, &s.guest, h)
	}
	if refusal != "" {
		return s.sayError(refusal)
	}
	ask := []string{"HELLO"}
	if h.Version > 0 {
		ask = append(ask, strconv.Itoa(h.Version))
	}
	if h.Named {
		ask = append(ask, "SETNAME", h.Name)
	}
	return s.ask(ctx, ask, func() {
		if h.Version > 0 {
			s.proto = h.Version
		}
		if h.Named {
			s.name = h.Name
		}
	})
}

// ask passes a command on and remembers it, unless the engine refuses it.
func (s *session) ask(ctx context.Context, args []string, remember func()) bool {
	if !s.multi && s.drain() != nil {
		return false
	}
	if s.uncounted || s.multi {
		s.kept = true // whether the engine does it is not seen
		return s.sendOne(ctx, args)
	}
	reply, err := s.do(ctx, args...)
	if err != nil {
		return s.fail(err)
	}
	if reply[0] != '-' && reply[0] != '!' {
		remember()
	}
	return s.say(reply)
}

// fail answers with an error of the front. It reports false when the connection has to end.
func (s *session) fail(err error) bool {
	if errors.Is(err, errLost) {
		return false
	}
	if errors.As(err, new(downError)) {
		s.forgetState()
		s.tellFailed()
	}
	return s.sayError(err.Error())
}

// Through is said by another front, which has done what there is to rewrite.
const Through = "CRAWLBOX.FRONT"

func passThrough(ctx context.Context, s *session, _ []string) bool {
	if s.multi {
		return s.refuse(ctx, errNotInMulti)
	}
	s.leaveRewriting()
	return s.say([]byte("+OK\r\n"))
}

func quit(_ context.Context, s *session, _ []string) bool {
	s.guest.Quit = true
	return s.say([]byte("+OK\r\n"))
}

// reset makes the client a stranger.
func reset(_ context.Context, s *session, _ []string) bool {
	if s.drain() != nil {
		return false
	}
	s.unlink(0)
	s.forget() // with that its reply is sent, whatever was said before
	s.guest.Authed = false
	return s.say([]byte("+RESET\r\n"))
}

// choose implements SELECT.
func choose(ctx context.Context, s *session, args []string) bool {
	if len(args) != 2 {
		return s.ask(ctx, args, func() {})
	}
	db, err := strconv.Atoi(args[1])
	done := func() {
		if err == nil {
			s.db = db
		}
	}
	if err == nil && s.multi && !s.unseen() {
		selected := Instead{Queued: func(reply []byte) []byte {
			if reply[0] == '+' {
				done()
			}
			return reply
		}}
		if !s.remember(selected) {
			return s.refuse(ctx, errNoRoom.Error())
		}
		s.dbThen = db
	}
	return s.ask(ctx, args, done)
}

// client implements CLIENT, of which the front remembers what it repeats.
func client(ctx context.Context, s *session, args []string) bool {
	sub := ""
	if len(args) > 1 {
		sub = strings.ToUpper(args[1])
	}
	switch sub {
	case "SETNAME":
		return s.ask(ctx, args, func() { s.name = args[2] })
	case "REPLY":
		return s.setReplies(ctx, args)
	case "TRACKING", "CACHING", "NO-TOUCH":
		s.kept = true
	case "KILL", "PAUSE", "UNPAUSE", "NO-EVICT":
		if !s.front.opts.Unrestricted {
			return refuse(ctx, s, args)
		}
		s.kept = true
	}
	return s.sendOne(ctx, args)
}
