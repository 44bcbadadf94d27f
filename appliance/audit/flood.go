package audit

import (
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// What one source can cause of one event, and all sources together: the first few of a
// source have a line each, and so do the first of an event; then one more may in a while.
// The rest is counted, and a line for many says how many they were. So a flood that lasts
// for ever makes less than a megabyte a day.
const (
	sourceBurst  = 30
	sourceEvery  = 10 * time.Minute
	maxSources   = 4096 // that are remembered; the one that was quiet for longest is forgotten
	eventBurst   = 1000
	eventEvery   = 5 * time.Minute
	summaryEvery = 10 * time.Minute
	maxEvents    = 64 // kinds of events; all further ones are one kind
)

// authorized lists the events that are recorded each time. All others can be caused by
// strangers or by nodes as often as they like, so a new one is bounded unless it is here.
var authorized = map[string]string{
	"local-api": "those who cause it may do all that root may",
	"removal":   "root causes it, once for each node",
	"join":      "a join token was good; members are bounded, and so is how often one is signed for",
}

// flood counts what is not worth a line. It is used by one goroutine at a time.
type flood struct {
	sources *bound.Rate[source]
	events  map[string]*eventState
}

type source struct{ event, who string }

// eventState holds what is known of one event.
type eventState struct {
	lines  *rate.Limiter
	held   int            // since the last summary
	from   map[string]int // by source, at most maxSources
	since  time.Time      // of the first that was held back
	others int            // held back of sources beyond those in from
}

func newFlood() *flood {
	return &flood{
		sources: bound.NewRate[source](sourceEvery, sourceBurst, maxSources),
		events:  map[string]*eventState{},
	}
}

// allow reports whether an event gets a line, and counts it if not.
func (f *flood) allow(event string, attrs []slog.Attr) bool {
	if _, ok := authorized[event]; ok {
		return true
	}
	e, who := f.event(event), sourceOf(attrs)
	if f.sources.Allow(source{event, who}) && e.lines.Allow() {
		return true
	}
	if e.held == 0 {
		e.since = time.Now()
	}
	e.held++
	if _, known := e.from[who]; known || len(e.from) < maxSources {
		e.from[who]++
	} else {
		e.others++
	}
	return false
}

func (f *flood) event(name string) *eventState {
	if len(f.events) >= maxEvents && f.events[name] == nil {
		name = ""
	}
	e := f.events[name]
	if e == nil {
		e = &eventState{lines: rate.NewLimiter(rate.Every(eventEvery), eventBurst), from: map[string]int{}}
		f.events[name] = e
	}
	return e
}

// summaries takes the lines for all that was held back.
func (f *flood) summaries() (list []summary) {
	for name, e := range f.events {
		if e.held == 0 {
			continue
		}
		list = append(list, summary{name, e.attrs()})
		e.held, e.others = 0, 0
		clear(e.from)
	}
	return list
}

// summary is one line for many.
type summary struct {
	event string
	attrs []slog.Attr
}

func (e *eventState) attrs() []slog.Attr {
	worst := ""
	for who, n := range e.from {
		if worst == "" || n > e.from[worst] {
			worst = who
		}
	}
	return []slog.Attr{slog.Int("repeated", e.held), slog.Time("since", e.since), slog.Int("sources", len(e.from)),
		slog.String("most_from", worst), slog.Int("most", e.from[worst])}
}

// sourceOf says who caused an event by what belongs to it: a node, else where a request
// came from.
func sourceOf(attrs []slog.Attr) string {
	for _, key := range []string{"node", "remote", "from"} {
		for _, a := range attrs {
			if a.Key != key {
				continue
			}
			text := a.Value.String()
			if at, err := netip.ParseAddrPort(text); err == nil {
				return bound.Prefix(at.Addr()).String()
			}
			return text
		}
	}
	return ""
}
