package queue

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/engine"
	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

// hub knows who listens to what. core.mu guards it.
type hub struct {
	channels map[string]map[*session]struct{}
	patterns map[string]map[*session]struct{}
	hears    int // of both, those on which keyspace notifications can come
}

// Keyspace notifications come on channels that begin like this, followed by the number of a
// database.
const (
	keyspaceChannel = "__keyspace@"
	keyeventChannel = "__keyevent@"
)

// canHear reports whether keyspace notifications can come on a channel, or on those that match
// a pattern.
func canHear(name string, pattern bool) bool {
	return strings.HasPrefix(name, "__key") || pattern && name != "" && strings.IndexByte("*?[\\_", name[0]) >= 0
}

// notify tells those who listen what happened to keys.
func (h *hub) notify(events []engine.Event) {
	for _, e := range events {
		at := strconv.Itoa(e.DB) + "__:"
		h.publish(nil, keyspaceChannel+at+e.Key.Name, e.Name)
		h.publish(nil, keyeventChannel+at+e.Name, e.Key.Name)
	}
}

func newHub() hub {
	return hub{channels: map[string]map[*session]struct{}{}, patterns: map[string]map[*session]struct{}{}}
}

func (h *hub) leave(s *session) {
	for name := range s.channels {
		h.remove(h.channels, name, false, s)
		s.share.Give(subscriptionCost + len(name))
	}
	for name := range s.patterns {
		h.remove(h.patterns, name, true, s)
		s.share.Give(subscriptionCost + len(name))
	}
	s.channels, s.patterns = nil, nil
}

func (h *hub) remove(all map[string]map[*session]struct{}, name string, pattern bool, s *session) {
	delete(all[name], s)
	if len(all[name]) == 0 {
		delete(all, name)
		if canHear(name, pattern) {
			h.hears--
		}
	}
}

// publish sends a message to all who listen, and returns how many they are.
func (h *hub) publish(from *session, channel, message string) (n int) {
	for s := range h.channels[channel] {
		s.send(from, "message", channel, message)
		n++
	}
	for pattern, sessions := range h.patterns {
		if !argument.Match(pattern, channel) {
			continue
		}
		for s := range sessions {
			s.send(from, "pmessage", pattern, channel, message)
			n++
		}
	}
	return n
}

// send sends a message to a client; to the one that runs the command before its
// own reply.
func (s *session) send(from *session, parts ...string) {
	out := &resp.Writer{V3: s.c.Out.V3}
	if s == from {
		out = &s.c.Out
	}
	out.Push(len(parts))
	for _, part := range parts {
		out.Bulk(part)
	}
	if s != from {
		s.out.push(out.Buf)
	}
}

func (s *session) subscriptions() int { return len(s.channels) + len(s.patterns) }

func init() {
	for prefix, patterns := range map[string]bool{"": false, "P": true} {
		subscribe := func(s *session, args []string) { s.subscribe(args, patterns) }
		unsubscribe := func(s *session, args []string) { s.unsubscribe(args, patterns) }
		register(prefix+"SUBSCRIBE", serverCommand{arity: -2, subscribed: true, run: locked(subscribe)})
		register(prefix+"UNSUBSCRIBE", serverCommand{arity: -1, subscribed: true, run: locked(unsubscribe)})
	}
	register("PUBLISH", serverCommand{arity: 3, run: locked(func(s *session, args []string) {
		s.c.Out.Int(s.core.hub.publish(s, args[1], args[2]))
	})})
	register("PUBSUB", serverCommand{arity: -2, run: locked((*session).pubsub)})
}

// lists returns what the client listens to, and who listens to that.
func (s *session) lists(patterns bool) (*map[string]struct{}, map[string]map[*session]struct{}) {
	if patterns {
		return &s.patterns, s.core.hub.patterns
	}
	return &s.channels, s.core.hub.channels
}

// subscriptionCost is the number of bytes that a subscription takes beside the name.
const subscriptionCost = 500

func (s *session) subscribe(args []string, patterns bool) {
	mine, all := s.lists(patterns)
	for _, name := range args[1:] {
		if patterns && len(name) > argument.MaxPattern {
			s.c.Out.Error(engine.ErrPattern)
			return
		}
		if !s.share.Take(subscriptionCost + len(name)) {
			s.c.Out.Error(errNoRoom.Error())
			return
		}
		if _, known := (*mine)[name]; known {
			s.share.Give(subscriptionCost + len(name))
		} else {
			if *mine == nil {
				*mine = map[string]struct{}{}
			}
			(*mine)[name] = struct{}{}
			if all[name] == nil {
				all[name] = map[*session]struct{}{}
				if canHear(name, patterns) {
					s.core.hub.hears++
				}
			}
			all[name][s] = struct{}{}
		}
		s.confirm(args[0], name)
	}
	// A message must not overtake the reply.
	_ = s.out.write(s.c.Out.Buf)
	s.c.Out.Buf = s.c.Out.Buf[:0]
}

func (s *session) unsubscribe(args []string, patterns bool) {
	mine, all := s.lists(patterns)
	names := args[1:]
	if len(names) == 0 {
		names = slices.Collect(maps.Keys(*mine))
	}
	if len(names) == 0 {
		s.c.Out.Push(3)
		s.c.Out.Bulk(lower(args[0]))
		s.c.Out.Null()
		s.c.Out.Int(s.subscriptions())
	}
	for _, name := range names {
		if _, known := (*mine)[name]; known {
			s.share.Give(subscriptionCost + len(name))
			delete(*mine, name)
			s.core.hub.remove(all, name, patterns, s)
		}
		s.confirm(args[0], name)
	}
}

func (s *session) confirm(command, name string) {
	s.c.Out.Push(3)
	s.c.Out.Bulk(lower(command))
	s.c.Out.Bulk(name)
	s.c.Out.Int(s.subscriptions())
}

func (s *session) pubsub(args []string) {
	hub := &s.core.hub
	switch sub := lower(args[1]); {
	case sub == "channels" && len(args) == 3 && len(args[2]) > argument.MaxPattern:
		s.c.Out.Error(engine.ErrPattern)
	case sub == "channels" && len(args) <= 3:
		var names []string
		for name := range hub.channels {
			if len(args) == 2 || argument.Match(args[2], name) {
				names = append(names, name)
			}
		}
		s.c.Out.Bulks(names)
	case sub == "numsub":
		s.c.Out.Array(2 * (len(args) - 2))
		for _, name := range args[2:] {
			s.c.Out.Bulk(name)
			s.c.Out.Int(len(hub.channels[name]))
		}
	case sub == "numpat" && len(args) == 2:
		s.c.Out.Int(len(hub.patterns))
	case sub == "channels":
		s.c.Out.Error("ERR unknown subcommand or wrong number of arguments for '" + args[1] + "'. Try PUBSUB HELP.")
	default:
		s.failSub(args)
	}
}
