package queue

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/engine"
	"github.com/crawlbox/crawlbox/embedded/queue/engine/flow"
)

// serverCommand is a command about the connection or the server, not about data.
type serverCommand struct {
	arity      int  // with the name; negative: at least
	anyone     bool // allowed without a password
	subscribed bool // allowed while the client listens to channels, in RESP2
	atOnce     bool // not queued in a transaction
	alone      bool // refused in a transaction
	run        func(ctx context.Context, s *session, args []string)
}

func (c *serverCommand) arityOK(n int) bool { return (&engine.Command{Arity: c.arity}).ArityOK(n) }

var serverCommands = map[string]*serverCommand{}

func register(name string, c serverCommand) { serverCommands[name] = &c }

// locked makes a command that runs under core.mu, which EXEC holds already.
func locked(run func(s *session, args []string)) func(context.Context, *session, []string) {
	return func(_ context.Context, s *session, args []string) {
		if s.inExec {
			run(s, args)
			return
		}
		s.do(func() {
			s.note(args)
			run(s, args)
		})
	}
}

func init() {
	register("AUTH", serverCommand{arity: -2, anyone: true, run: auth})
	register("BGREWRITEAOF", serverCommand{arity: 1, alone: true, run: locked((*session).rewrite)})
	register("CLIENT", serverCommand{arity: -2, run: locked((*session).client)})
	register("COMMAND", serverCommand{arity: -1, run: locked((*session).command)})
	register("CONFIG", serverCommand{arity: -2, run: locked((*session).config)})
	// A front says it, which does what there is to rewrite: nothing is, here.
	register("CRAWLBOX.FRONT", serverCommand{arity: 1, run: locked(func(s *session, _ []string) { s.c.Out.OK() })})
	register("CRAWLBOX.FLOW", serverCommand{arity: -2, run: locked((*session).flow)})
	register("DISCARD", serverCommand{arity: 1, atOnce: true, run: discard})
	register("ECHO", serverCommand{arity: 2, run: locked(func(s *session, args []string) { s.c.Out.Bulk(args[1]) })})
	register("EXEC", serverCommand{
		arity:  1,
		atOnce: true,
		run:    func(ctx context.Context, s *session, _ []string) { s.exec(ctx) },
	})
	register("HELLO", serverCommand{arity: -1, anyone: true, run: hello})
	register("INFO", serverCommand{arity: -1, run: locked((*session).info)})
	register("LASTSAVE", serverCommand{
		arity: 1,
		run:   locked(func(s *session, _ []string) { s.c.Out.Int64(time.Now().Unix()) }),
	})
	register("MULTI", serverCommand{arity: 1, atOnce: true, run: begin})
	register("PING", serverCommand{arity: -1, subscribed: true, run: locked((*session).ping)})
	register("QUIT", serverCommand{
		arity:      -1,
		anyone:     true,
		subscribed: true,
		atOnce:     true,
		run:        quit,
	})
	register("RESET", serverCommand{
		arity:      1,
		anyone:     true,
		subscribed: true,
		atOnce:     true,
		run:        reset,
	})
	register("SELECT", serverCommand{arity: 2, run: locked((*session).selectDB)})
	register("TIME", serverCommand{arity: 1, run: locked((*session).time)})
	register("UNWATCH", serverCommand{
		arity: 1,
		run:   locked(func(s *session, _ []string) { s.unwatch(); s.c.Out.OK() }),
	})
	register("WAIT", serverCommand{arity: 3, run: locked((*session).waitReplicas)})
	register("WATCH", serverCommand{arity: -2, atOnce: true, run: watch})
}

func begin(_ context.Context, s *session, _ []string) {
	if s.multi {
		s.c.Out.Error("ERR MULTI calls can not be nested")
		return
	}
	s.multi = true
	s.length.Store(0)
	s.c.Out.OK()
}

func discard(_ context.Context, s *session, _ []string) {
	if !s.multi {
		s.c.Out.Error("ERR DISCARD without MULTI")
		return
	}
	s.discard()
	s.c.Out.OK()
}

func watch(ctx context.Context, s *session, args []string) {
	if s.multi {
		s.c.Out.Error("ERR WATCH inside MULTI is not allowed")
		return
	}
	locked(func(s *session, args []string) {
		if s.watch(args[1:]) {
			s.c.Out.OK()
			return
		}
		s.c.Out.Error(errNoRoom.Error())
	})(ctx, s, args)
}

func quit(_ context.Context, s *session, _ []string) {
	s.guest.Quit = true
	s.c.Out.OK()
}

func reset(_ context.Context, s *session, _ []string) {
	s.discard()
	s.do(func() {
		s.core.hub.leave(s)
		s.db, s.name, s.c.Out.V3 = 0, "", false
	})
	s.guest.Authed, s.replyMode = false, replyOn
	s.c.Out.Status("RESET")
}

// auth implements AUTH [user] password.
func auth(ctx context.Context, s *session, args []string) {
	if refusal := s.server.passwords.Auth(s.hurried(ctx), &s.guest, args); refusal != "" {
		s.c.Out.Error(refusal)
		return
	}
	s.c.Out.OK()
}

// hurried returns a context in which nobody waits for the turn to try a password while others wait for EXEC.
func (s *session) hurried(ctx context.Context) context.Context {
	if !s.inExec {
		return ctx
	}
	return noTime{ctx}
}

// noTime is a context whose time is up already.
type noTime struct{ context.Context }

// Deadline implements context.Context.
func (noTime) Deadline() (time.Time, bool) { return time.Unix(0, 0), true }

// hello implements HELLO [version [AUTH user password] [SETNAME name]].
func hello(ctx context.Context, s *session, args []string) {
	h, refusal := admission.ParseHello(args)
	if refusal == "" {
		refusal = s.server.passwords.Hello(s.hurried(ctx), &s.guest, h)
	}
	if refusal != "" {
		s.c.Out.Error(refusal)
		return
	}
	locked(func(s *session, _ []string) {
		if h.Named {
			s.name = h.Name
		}
		if h.Version != 0 {
			s.c.Out.V3 = h.Version == 3
		}
		s.greet()
	})(ctx, s, args)
}

func (s *session) greet() {
	out := &s.c.Out
	out.Map(7)
	out.Pairs([][2]string{{"server", "redis"}, {"version", redisVersion}})
	out.Bulk("proto")
	if out.V3 {
		out.Int(3)
	} else {
		out.Int(2)
	}
	out.Bulk("id")
	out.Int64(s.id)
	out.Pairs([][2]string{{"mode", "standalone"}, {"role", "master"}})
	out.Bulk("modules")
	out.Array(0)
}

func (s *session) ping(args []string) {
	switch {
	case len(args) > 2:
		s.c.Out.Error(engine.WrongArity("ping"))
	case !s.c.Out.V3 && s.subscriptions() > 0:
		s.c.Out.Array(2)
		s.c.Out.Bulk("pong")
		s.c.Out.Bulk(strings.Join(args[1:], ""))
	case len(args) == 2:
		s.c.Out.Bulk(args[1])
	default:
		s.c.Out.Status("PONG")
	}
}

func (s *session) selectDB(args []string) {
	n, err := strconv.ParseInt(args[1], 10, 64)
	switch {
	case err != nil:
		s.c.Out.Error(engine.ErrNotInt)
	case n != int64(int32(n)):
		s.c.Out.Error("ERR value is out of range, value must between -2147483648 and 2147483647")
	case n < 0 || n >= engine.Databases:
		s.c.Out.Error("ERR DB index is out of range")
	default:
		s.db = int(n)
		s.c.Out.OK()
	}
}

func (s *session) time([]string) {
	now := time.Now()
	s.c.Out.Bulks([]string{strconv.FormatInt(now.Unix(), 10), strconv.Itoa(now.Nanosecond() / 1000)})
}

// flow implements CRAWLBOX.FLOW key [key ...], which no other server has: it replies with how many items
// have come into each key, and gone out of it.
func (s *session) flow(args []string) {
	keys := args[1:]
	if len(keys) > flow.MaxKeys {
		s.c.Out.Error(fmt.Sprintf("ERR it counts for %d keys at the most", flow.MaxKeys))
		return
	}
	s.core.engine.Tick()
	s.c.Out.Array(2 * len(keys))
	for _, key := range keys {
		counts := s.core.engine.Flow(engine.Key{DB: s.db, Name: key})
		s.c.Out.Int64(counts.In)
		s.c.Out.Int64(counts.Out)
	}
}

func (s *session) waitReplicas(args []string) {
	_, err := strconv.ParseInt(args[1], 10, 64)
	timeout, err2 := strconv.ParseInt(args[2], 10, 64)
	switch {
	case err != nil:
		s.c.Out.Error(engine.ErrNotInt)
	case err2 != nil:
		s.c.Out.Error("ERR timeout is not an integer or out of range")
	case timeout < 0:
		s.c.Out.Error("ERR timeout is negative")
	default:
		s.c.Out.Int(0)
	}
}

func (s *session) rewrite([]string) {
	s.core.journal.Rewrite()
	s.c.Out.Status("Background append only file rewriting started")
}

// subcommands are those that are served, of the commands that have some, beside HELP.
var subcommands = map[string][]string{
	"CLIENT": {
		"getname", "id", "info", "kill", "list", "no-evict", "no-touch", "reply", "setinfo", "setname", "unblock",
	},
	"COMMAND": {"count", "docs", "info", "list"},
	"CONFIG":  {"get", "resetstat"},
	"PUBSUB":  {"channels", "numpat", "numsub"},
}

// unservedSubcommands are those of Redis that are not served, with the reason.
var unservedSubcommands = map[string]string{
	"CLIENT CACHING":          noTracking,
	"CLIENT GETREDIR":         noTracking,
	"CLIENT TRACKING":         noTracking,
	"CLIENT TRACKINGINFO":     noTracking,
	"CLIENT PAUSE":            "it pauses nobody",
	"CLIENT UNPAUSE":          "it pauses nobody",
	"COMMAND GETKEYS":         "find the keys in Redis' documentation",
	"COMMAND GETKEYSANDFLAGS": "find the keys in Redis' documentation",
	"CONFIG REWRITE":          "its settings are in crawlbox.yaml",
	"CONFIG SET":              "its settings are in crawlbox.yaml",
	"PUBSUB SHARDCHANNELS":    "use PUBSUB CHANNELS",
	"PUBSUB SHARDNUMSUB":      "use PUBSUB NUMSUB",
}

const noTracking = "it tells nobody which keys have changed"

// failSub answers a subcommand that is not served, or has a wrong number of arguments. HELP
// is served by it: what an error advises to try has to be there.
func (s *session) failSub(args []string) {
	sub, name := lower(args[1]), args[0]+" "+strings.ToUpper(args[1])
	served := subcommands[args[0]]
	switch {
	case sub == "help" && len(args) == 2:
		lines := []string{args[0] + " <subcommand> [<arg> ...]. Subcommands are:"}
		for _, known := range append(slices.Clone(served), "help") {
			lines = append(lines, strings.ToUpper(known))
		}
		s.c.Out.Bulks(lines)
	case sub == "help" || slices.Contains(served, sub):
		s.c.Out.Error(engine.WrongArity(args[0] + "|" + sub))
	case unservedSubcommands[name] != "":
		s.c.Out.Error("ERR " + name + engine.Refused + unservedSubcommands[name])
	default:
		s.c.Out.Error("ERR unknown subcommand '" + args[1][:min(len(args[1]), 128)] + "'. Try " + args[0] + " HELP.")
	}
}

// command implements COMMAND; what the commands are is Redis' documentation.
func (s *session) command(args []string) {
	sub := ""
	if len(args) > 1 {
		sub = lower(args[1])
	}
	names := append(engine.Names(), slices.Collect(maps.Keys(serverCommands))...)
	switch sub {
	case "":
		s.c.Out.Array(0)
	case "count":
		if len(args) > 2 {
			s.failSub(args)
			return
		}
		s.c.Out.Int(len(names))
	case "list":
		s.c.Out.Array(len(names))
		for _, name := range names {
			s.c.Out.Bulk(lower(name))
		}
	case "docs":
		s.c.Out.Map(0)
	case "info":
		s.c.Out.Array(len(args) - 2)
		for range args[2:] {
			s.c.Out.NullArray()
		}
	default:
		s.failSub(args)
	}
}

// config implements CONFIG GET; the settings are crawlbox.yaml's.
func (s *session) config(args []string) {
	switch lower(args[1]) {
	case "get":
		if len(args) < 3 {
			s.failSub(args)
			return
		}
		s.getConfig(args[2:])
	case "resetstat":
		s.c.Out.OK()
	default:
		s.failSub(args)
	}
}

func (s *session) getConfig(patterns []string) {
	settings := [][2]string{
		{"appendonly", "yes"},
		{"appendfsync", "everysec"},
		{"databases", strconv.Itoa(engine.Databases)},
		{"maxclients", strconv.Itoa(s.server.door.Most())},
		{"maxmemory", strconv.FormatInt(s.server.opts.dataBound(), 10)},
		{"maxmemory-policy", "noeviction"},
		{"notify-keyspace-events", engine.Notified},
		{"port", strconv.Itoa(s.server.addr.Load().Port)},
		{"proto-max-bulk-len", "536870912"},
		{"save", ""},
		{"timeout", "0"},
		{"tcp-keepalive", "15"},
	}
	var found [][2]string
	for _, setting := range settings {
		for _, pattern := range patterns {
			if len(pattern) <= argument.MaxPattern && argument.Match(lower(pattern), setting[0]) {
				found = append(found, setting)
				break
			}
		}
	}
	s.c.Out.Map(len(found))
	s.c.Out.Pairs(found)
}
