package queue

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const errNoAuth = "-NOAUTH Authentication required.\r\n"

// sessionCommand is a command about the connection, not about data. It runs at
// once, in a transaction too.
type sessionCommand struct {
	least, most int  // arguments with the name; most 0: no limit
	anyone      bool // allowed without a password
	run         func(ctx context.Context, s *session, args []string) string
}

// atOnce is a command that waits for nothing.
func atOnce(run func(s *session, args []string) string) func(context.Context, *session, []string) string {
	return func(_ context.Context, s *session, args []string) string { return run(s, args) }
}

var sessionCommands map[string]sessionCommand

func init() {
	sessionCommands = map[string]sessionCommand{
		"AUTH":         {least: 2, most: 3, anyone: true, run: auth},
		"BGREWRITEAOF": {least: 1, most: 1, run: atOnce((*session).rewrite)},
		"CLIENT":       {least: 2, run: atOnce((*session).client)},
		"COMMAND":      {least: 1, run: atOnce(func(*session, []string) string { return replyArrayLen(0) })},
		"CONFIG":       {least: 2, run: atOnce((*session).config)},
		"DISCARD":      {least: 1, most: 1, run: atOnce(func(s *session, _ []string) string { return s.discard() })},
		"HELLO":        {least: 1, anyone: true, run: hello},
		"INFO":         {least: 1, run: atOnce((*session).info)},
		"MULTI":        {least: 1, most: 1, run: atOnce(func(s *session, _ []string) string { return s.begin() })},
		"QUIT":         {least: 1, anyone: true, run: atOnce(func(s *session, _ []string) string { s.quit = true; return replyOK })},
		"RESET":        {least: 1, most: 1, run: atOnce((*session).resetAll)},
		"SELECT":       {least: 2, most: 2, run: atOnce((*session).selectDB)},
		"UNWATCH":      {least: 1, most: 1, run: atOnce(func(s *session, _ []string) string { s.unwatch(); return replyOK })},
		"WAIT":         {least: 3, most: 3, run: atOnce(func(*session, []string) string { return replyInt(0) })},
		"WATCH":        {least: 2, run: atOnce(func(s *session, args []string) string { return s.watch(args[1:]) })},
	}
}

// auth is AUTH [user] password.
func auth(ctx context.Context, s *session, args []string) string {
	user, password := "default", args[len(args)-1]
	if len(args) == 3 {
		user = args[1]
	}
	return s.login(ctx, user, password)
}

// login checks a password when the address may try one. The connection ends when
// it may not for now, and after maxGuesses.
func (s *session) login(ctx context.Context, user, password string) string {
	got := sha256.Sum256([]byte(password))
	err := s.server.attempts.try(ctx, s.from, func() bool {
		return subtle.ConstantTimeCompare(got[:], s.server.password[:]) == 1 && user == "default"
	})
	if err == nil {
		s.authed = true
		return replyOK
	}
	if !errors.Is(err, errWrongPassword) {
		s.refusals++
		s.quit = true
		return replyError("ERR " + err.Error())
	}
	s.guesses++
	s.quit = s.guesses >= maxGuesses
	return replyError("WRONGPASS invalid username-password pair or user is disabled.")
}

// hello is HELLO [version [AUTH user password] [SETNAME name]].
func hello(ctx context.Context, s *session, args []string) string {
	version := "2"
	if s.resp3 {
		version = "3"
	}
	if len(args) > 1 {
		version = args[1]
	}
	if version != "2" && version != "3" {
		return replyError("NOPROTO unsupported protocol version")
	}
	name := s.name
	for i := 2; i < len(args); {
		switch option := strings.ToUpper(args[i]); {
		case option == "AUTH" && i+2 < len(args):
			if reply := s.login(ctx, args[i+1], args[i+2]); isError(reply) {
				// Clients take an error here for one of HELLO, try AUTH, and show that one's.
				s.quit = s.quit && s.refusals != 1
				return reply
			}
			i += 3
		case option == "SETNAME" && i+1 < len(args):
			name = args[i+1]
			i += 2
		default:
			return replyError("ERR Syntax error in HELLO option '" + args[i][:min(len(args[i]), 64)] + "'")
		}
	}
	if !s.authed {
		return replyError("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
	}
	s.name, s.resp3 = name, version == "3"
	return replyMapLen(7, s.resp3) +
		replyBulk("server") + replyBulk("redis") +
		replyBulk("version") + replyBulk(redisVersion) +
		replyBulk("proto") + ":" + version + "\r\n" +
		replyBulk("id") + replyInt(s.id) +
		replyBulk("mode") + replyBulk("standalone") +
		replyBulk("role") + replyBulk("master") +
		replyBulk("modules") + replyArrayLen(0)
}

func (s *session) selectDB(args []string) string {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return errNotInt
	}
	if n < 0 || n >= databases {
		return replyError("ERR DB index is out of range")
	}
	if s.multi {
		s.aborted = true
		return replyError("ERR SELECT inside MULTI is not served by crawlbox's queue")
	}
	s.db = n
	return replyOK
}

func (s *session) client(args []string) string {
	switch strings.ToUpper(args[1]) {
	case "SETNAME":
		if len(args) != 3 || strings.ContainsAny(args[2], " \r\n") {
			return replyError("ERR Client names cannot contain spaces, newlines or special characters.")
		}
		s.name = args[2]
		return replyOK
	case "GETNAME":
		return replyBulk(s.name)
	case "ID":
		return replyInt(s.id)
	case "SETINFO", "NO-EVICT", "NO-TOUCH":
		return replyOK
	}
	return replyError("ERR unknown subcommand '" + args[1] + "'. Try CLIENT HELP.")
}

// config answers clients that ask for settings out of habit.
func (s *session) config(args []string) string {
	if strings.EqualFold(args[1], "GET") {
		return replyMapLen(0, s.resp3)
	}
	return replyError("ERR the queue's settings are in crawlbox.yaml")
}

func (s *session) rewrite([]string) string {
	s.core.journal.Rewrite()
	return replyStatus("Background append only file rewriting started")
}

func (s *session) resetAll([]string) string {
	s.reset()
	s.authed, s.resp3, s.db, s.name = false, false, 0, ""
	return replyStatus("RESET")
}

// info is INFO, the part that clients and monitors read.
func (s *session) info([]string) string {
	persistence := "ok"
	if s.core.journal.Err() != nil {
		persistence = "err"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Server\r\nredis_version:%s\r\nredis_mode:standalone\r\ntcp_port:%d\r\n", redisVersion, s.server.addr.Load().Port)
	fmt.Fprintf(&b, "# Clients\r\nconnected_clients:%d\r\nblocked_clients:%d\r\n", s.server.open.Load(), s.server.blocked.Load())
	fmt.Fprintf(&b, "# Persistence\r\nloading:0\r\naof_enabled:1\r\naof_last_write_status:%s\r\n", persistence)
	fmt.Fprint(&b, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n# Keyspace\r\n")
	for db := range databases {
		keys, _ := parseInt(s.core.do(func(st *store) string { return st.ask(db, "DBSIZE") }))
		if keys > 0 {
			fmt.Fprintf(&b, "db%d:keys=%d,expires=0,avg_ttl=0\r\n", db, keys)
		}
	}
	return replyBulk(b.String())
}
