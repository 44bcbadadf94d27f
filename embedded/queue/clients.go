package queue

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
	"github.com/crawlbox/crawlbox/embedded/queue/engine"
)

func lower(s string) string { return strings.ToLower(s) }

func (s *session) client(args []string) {
	out := &s.c.Out
	switch sub := lower(args[1]); {
	case sub == "setname" && len(args) == 3:
		if !admission.ValidName(args[2]) {
			out.Error(admission.ErrName)
			return
		}
		s.name = args[2]
		out.OK()
	case sub == "getname" && len(args) == 2:
		if s.name == "" {
			out.Null()
			return
		}
		out.Bulk(s.name)
	case sub == "id" && len(args) == 2:
		out.Int64(s.id)
	case sub == "info" && len(args) == 2:
		out.Verbatim(s.describe() + "\n")
	case sub == "list":
		s.listClients(args[2:])
	case sub == "setinfo" && len(args) == 4:
		out.OK()
	case (sub == "no-evict" || sub == "no-touch") && len(args) == 3:
		if mode := lower(args[2]); mode != "on" && mode != "off" {
			out.Error(engine.ErrSyntax)
			return
		}
		out.OK()
	case sub == "reply" && len(args) == 3:
		s.setReply(args[2])
	case sub == "unblock" && (len(args) == 3 || len(args) == 4):
		s.unblockClient(args[2:])
	case sub == "kill" && len(args) > 2:
		s.kill(args[2:])
	default:
		s.failSub(args)
	}
}

func (s *session) setReply(mode string) {
	switch lower(mode) {
	case "on":
		s.replyMode = replyOn
		s.c.Out.OK()
	case "off":
		s.replyMode = replyOff
	case "skip":
		if s.replyMode == replyOn {
			s.replyMode = replySkip
		}
	default:
		s.c.Out.Error(engine.ErrSyntax)
	}
}

// describe returns the client's line of CLIENT LIST.
func (s *session) describe() string {
	flags, multi, version := "", s.length.Load(), 2
	if s.subscriptions() > 0 {
		flags += "P"
	}
	if multi >= 0 {
		flags += "x"
	}
	if s.waiting != nil {
		flags += "b"
	}
	if s.c.Out.V3 {
		version = 3
	}
	now := time.Now()
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=0 name=%s age=%d idle=%d flags=%s "+
		"db=%d sub=%d psub=%d ssub=0 multi=%d qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 "+
		"omem=0 tot-mem=0 events=r cmd=%s user=default redir=-1 resp=%d",
		s.id, s.addr, s.server.Addr(), s.name, int(now.Sub(s.began).Seconds()), int(now.Sub(s.last).Seconds()),
		cmp.Or(flags, "N"), s.db, len(s.channels), len(s.patterns), multi, lower(s.cmd), version)
}

func (s *session) listClients(args []string) {
	wanted, kind := map[int64]bool{}, ""
	switch {
	case len(args) == 2 && lower(args[0]) == "type":
		if !knownKind(args[1]) {
			s.c.Out.Error("ERR Unknown client type '" + args[1] + "'")
			return
		}
		kind = lower(args[1])
	case len(args) > 1 && lower(args[0]) == "id":
		for _, arg := range args[1:] {
			id, err := strconv.ParseInt(arg, 10, 64)
			if err != nil {
				s.c.Out.Error("ERR Invalid client ID")
				return
			}
			wanted[id] = true
		}
	case len(args) > 0:
		s.c.Out.Error(engine.ErrSyntax)
		return
	}
	var b strings.Builder
	for _, other := range s.others() {
		if (len(wanted) == 0 || wanted[other.id]) && (kind == "" || kind == other.kind()) {
			b.WriteString(other.describe() + "\n")
		}
	}
	s.c.Out.Verbatim(b.String())
}

func knownKind(kind string) bool {
	return slices.Contains([]string{"normal", "pubsub", "master", "replica", "slave"}, lower(kind))
}

// kind returns the client's type.
func (s *session) kind() string {
	if s.subscriptions() > 0 {
		return "pubsub"
	}
	return "normal"
}

// others returns all clients that were not killed, in the order they came.
func (s *session) others() []*session {
	var all []*session
	for _, other := range s.core.sessions {
		if !other.dead.Load() {
			all = append(all, other)
		}
	}
	slices.SortFunc(all, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	return all
}

func (s *session) unblockClient(args []string) {
	id, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		s.c.Out.Error(engine.ErrNotInt)
		return
	}
	msg := ""
	if len(args) == 2 {
		switch lower(args[1]) {
		case "timeout":
		case "error":
			msg = "UNBLOCKED client unblocked via CLIENT UNBLOCK"
		default:
			s.c.Out.Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
			return
		}
	}
	other := s.core.sessions[id]
	s.c.Out.Flag(other != nil && other.unblock(msg))
}

// maxFilters bounds what each client is compared with.
const maxFilters = 32

// kill implements CLIENT KILL addr, or CLIENT KILL ID id | ADDR addr | SKIPME yes|no ….
func (s *session) kill(args []string) {
	match, skipMe, problem := s.killed(args)
	if problem != "" {
		s.c.Out.Error(problem)
		return
	}
	n := 0
	for _, other := range s.others() {
		if skipMe && other == s || slices.ContainsFunc(match, func(ok func(*session) bool) bool { return !ok(other) }) {
			continue
		}
		n++
		if other == s {
			s.guest.Quit = true
			continue
		}
		other.die()
	}
	switch {
	case len(args) > 1:
		s.c.Out.Int(n)
	case n == 0:
		s.c.Out.Error("ERR No such client")
	default:
		s.c.Out.OK()
	}
}

// killed reads whom CLIENT KILL means: those that all of match say yes to, without the
// caller if skipMe. Otherwise problem is the answer.
func (s *session) killed(args []string) (match []func(*session) bool, skipMe bool, problem string) {
	switch {
	case len(args) == 1:
		return []func(*session) bool{func(o *session) bool { return o.addr == args[0] }}, false, ""
	case len(args) > maxFilters:
		return nil, false, engine.ErrSyntax
	}
	skipMe = len(args) > 1
	for filter := range slices.Chunk(args, 2) {
		if len(filter) == 1 {
			return nil, false, engine.ErrSyntax
		}
		if lower(filter[0]) == "skipme" {
			if skipMe = lower(filter[1]) == "yes"; !skipMe && lower(filter[1]) != "no" {
				return nil, false, engine.ErrSyntax
			}
			continue
		}
		ok, problem := s.filter(lower(filter[0]), filter[1])
		if problem != "" {
			return nil, false, problem
		}
		match = append(match, ok)
	}
	return match, skipMe, ""
}

// filter is one of CLIENT KILL.
func (s *session) filter(name, value string) (ok func(*session) bool, problem string) {
	switch name {
	case "id":
		id, err := strconv.ParseInt(value, 10, 64)
		if err != nil || id < 1 {
			return nil, "ERR client-id should be greater than 0"
		}
		return func(o *session) bool { return o.id == id }, ""
	case "addr":
		return func(o *session) bool { return o.addr == value }, ""
	case "laddr":
		return func(*session) bool { return s.server.Addr() == value }, ""
	case "user":
		if value != "default" {
			return nil, "ERR No such user '" + value + "'"
		}
		return func(*session) bool { return true }, ""
	case "type":
		if !knownKind(value) {
			return nil, "ERR Unknown client type '" + value + "'"
		}
		return func(o *session) bool { return o.kind() == lower(value) }, ""
	}
	return nil, engine.ErrSyntax
}
