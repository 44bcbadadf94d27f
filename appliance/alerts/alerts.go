// Package alerts decides what people are told of what is not as it should be, when, and when it is over. Facts go in,
// as they are seen now; messages come out, one for many facts. All that it remembers is a State, which managers keep
// for the cluster, so that the next leader goes on where the last one stopped.
//
//	facts ──Observe──▶ alerts: new ─ wait ─▶ told ─ repeat ─▶ told …   gone ─ settle ─▶ over
//	                                   └──────────┬──────────────────────────────┘
//	                                           messages ──Claim──▶ sent ──Sent or Failed
//
// Nothing here looks at a clock or sends anything. A message is sent by who has claimed it, in the state, so that of
// two managers that both think that they lead one sends it. A claim ends after a time: where a leader dies between the
// answer of a receiver and the note of it, the next one sends the message again, with the same ID, by which a receiver
// can tell. To lose one would be worse.
package alerts

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAlerts bounds the alerts; what is more is counted.
	maxAlerts = 500
	// maxItems bounds the alerts of a message, the worst first; what is more is counted.
	maxItems = 100
	// maxText bounds the words of an alert, and maxSubject what it is about, in bytes.
	maxText, maxSubject = 300, 100
	// maxSilences bounds the silences.
	maxSilences = 100
	// maxMessages bounds the messages that wait, and maxWaiting all of them together, in bytes: of more the oldest are
	// dropped.
	maxMessages, maxWaiting = 200, 256 << 10
)

// Severities of facts, the worst first.
const (
	Bad     = "bad"
	Warning = "warning"
)

// Fact is something that is not as it should be.
type Fact struct {
	Rule     string `json:"rule"`
	Subject  string `json:"subject"` // a node, service or schedule; with the rule it tells it from others
	Severity string `json:"severity"`
	Text     string `json:"text"` // a sentence
}

func (f Fact) key() [2]string { return [2]string{f.Rule, f.Subject} }

// compare sorts facts by what they are, the worst first.
func (f Fact) compare(other Fact) int {
	return cmp.Or(cmp.Compare(f.Severity, other.Severity), cmp.Compare(f.Rule, other.Rule),
		cmp.Compare(f.Subject, other.Subject))
}

// Seen is what was seen.
type Seen struct {
	Facts []Fact
	// Blind has the rules of which nothing could be seen: nothing is over that only cannot be seen.
	Blind []string
}

// Alert is a fact that is known of.
type Alert struct {
	Fact
	Since time.Time `json:"since"`
	Told  time.Time `json:"told,omitzero"` // last; zero: not yet
	Gone  time.Time `json:"gone,omitzero"` // since when all is well again; zero: it is not
}

// Silence keeps alerts from being told for a time.
type Silence struct {
	Of     string    `json:"of"` // a rule, a subject, or All
	Until  time.Time `json:"until"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// All is silence of everything.
const All = "all"

func (s Silence) covers(f Fact) bool { return s.Of == All || s.Of == f.Rule || s.Of == f.Subject }

// States of what a message tells.
const (
	Firing   = "firing"
	Repeated = "repeated" // it goes on
	Resolved = "resolved"
)

// Item is what a message tells of an alert.
type Item struct {
	Status string `json:"status"`
	Fact
	Since time.Time `json:"since"`
	Ended time.Time `json:"ended,omitzero"`
}

// Message is what is told on a channel at once.
type Message struct {
	ID      string    `json:"id"` // its own: one that is sent again has the same
	Channel string    `json:"channel"`
	At      time.Time `json:"at"`
	Items   []Item    `json:"items"`
	More    int       `json:"more,omitempty"` // alerts that are not among the items
	Test    bool      `json:"test,omitempty"`

	Tries int       `json:"tries,omitempty"`  // that have failed
	Next  time.Time `json:"next,omitzero"`    // try
	Why   string    `json:"why,omitempty"`    // the last one failed
	Claim Claim     `json:"claim,omitzero"`   // of who sends it now
	Since time.Time `json:"failing,omitzero"` // it fails
}

// Claim is one's right to send a message.
type Claim struct {
	By    string    `json:"by"`
	Until time.Time `json:"until"`
}

// Sample is how long a queue was at a time.
type Sample struct {
	At   time.Time `json:"at"`
	Len  int64     `json:"len"`
	Dead int64     `json:"dead,omitempty"`
}

// State is all that is remembered.
type State struct {
	Alerts   []Alert             `json:"alerts,omitempty"`
	Silences []Silence           `json:"silences,omitempty"`
	Messages []Message           `json:"messages,omitempty"` // that wait to be sent, the oldest first
	Number   int                 `json:"number,omitempty"`   // of the last message
	Lost     int                 `json:"lost,omitempty"`     // messages that could not be sent
	Untold   int                 `json:"untold,omitempty"`   // facts for which there was no room
	Queues   map[string][]Sample `json:"queues,omitempty"`   // by key
}

// Policy says when what is told, and where.
type Policy struct {
	Wait, Settle, Repeat time.Duration
	// To returns the channels that a rule is told on; none: nothing is known of it either.
	To func(rule string) []string
}

// Observe returns the state after what was seen. It is the same where nothing has changed.
func (s State) Observe(seen Seen, p Policy, now time.Time) State {
	s.Alerts, s.Messages = slices.Clone(s.Alerts), slices.Clone(s.Messages)
	s.Silences = slices.DeleteFunc(slices.Clone(s.Silences), func(x Silence) bool { return !now.Before(x.Until) })
	here := map[[2]string]Fact{}
	for _, f := range seen.Facts {
		f.Text, f.Subject = short(f.Text, maxText), short(f.Subject, maxSubject)
		old, twice := here[f.key()]
		if len(p.To(f.Rule)) > 0 && (!twice || f.compare(old) < 0) {
			here[f.key()] = f
		}
	}
	s.note(here, seen.Blind, p, now)
	s.tell(here, p, now)
	s.trim()
	return s
}

// note takes facts for alerts, and notes which have gone.
func (s *State) note(here map[[2]string]Fact, blind []string, p Policy, now time.Time) {
	s.Alerts = slices.DeleteFunc(s.Alerts, func(a Alert) bool {
		_, there := here[a.key()]
		gone := !there && !slices.Contains(blind, a.Rule)
		return len(p.To(a.Rule)) == 0 || gone && a.Told.IsZero()
	})
	known := map[[2]string]bool{}
	for i := range s.Alerts {
		a := &s.Alerts[i]
		known[a.key()] = true
		switch _, there := here[a.key()]; {
		case there:
			a.Gone = time.Time{}
		case a.Gone.IsZero() && !slices.Contains(blind, a.Rule):
			a.Gone = now.UTC()
		}
	}
	s.Untold = 0
	for _, f := range slices.SortedFunc(maps.Values(here), Fact.compare) {
		switch {
		case known[f.key()]:
		case len(s.Alerts) >= maxAlerts:
			s.Untold++
		default:
			s.Alerts = append(s.Alerts, Alert{Fact: f, Since: now.UTC()})
		}
	}
}

// tell makes messages of what there is to tell, if it is time for one. What is told is worded as it is now: numbers in
// it change all the time, and are no reason to write the state.
func (s *State) tell(here map[[2]string]Fact, p Policy, now time.Time) {
	var items []Item
	is := false
	for _, a := range s.Alerts {
		item := Item{Status: Firing, Fact: a.Fact, Since: a.Since}
		if f, there := here[a.key()]; there {
			item.Fact = f
		}
		switch {
		case s.Silenced(a.Fact):
			continue
		case a.Told.IsZero():
			is = is || !now.Before(a.Since.Add(p.Wait))
		case a.over(p, now):
			is = is || !now.Before(a.Gone.Add(p.Settle+p.Wait))
			item.Status, item.Ended = Resolved, a.Gone
		case a.Gone.IsZero() && !now.Before(a.Told.Add(p.Repeat-p.Repeat/12)):
			is = is || !now.Before(a.Told.Add(p.Repeat))
			item.Status = Repeated
		default:
			continue
		}
		items = append(items, item)
	}
	if is {
		s.send(items, p, now)
	}
	s.Alerts = slices.DeleteFunc(s.Alerts, func(a Alert) bool { return a.over(p, now) && (is || s.Silenced(a.Fact)) })
}

// over reports whether all has been well for long enough.
func (a Alert) over(p Policy, now time.Time) bool {
	return !a.Gone.IsZero() && !now.Before(a.Gone.Add(p.Settle))
}

// send makes one message for each channel, and notes what is told.
func (s *State) send(items []Item, p Policy, now time.Time) {
	slices.SortStableFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Status, b.Status), a.compare(b.Fact))
	})
	var channels []string
	to := map[string][]Item{}
	for _, item := range items {
		for _, name := range p.To(item.Rule) {
			if to[name] == nil {
				channels = append(channels, name)
			}
			to[name] = append(to[name], item)
		}
	}
	slices.Sort(channels)
	for _, name := range channels {
		s.Number++
		all := to[name]
		s.Messages = append(s.Messages, Message{
			ID:      now.UTC().Format("20060102-150405") + "-" + strconv.Itoa(s.Number),
			Channel: name,
			At:      now.UTC(),
			Items:   all[:min(len(all), maxItems)],
			More:    max(0, len(all)-maxItems),
		})
	}
	told := map[[2]string]Fact{}
	for _, item := range items {
		told[item.key()] = item.Fact
	}
	for i := range s.Alerts {
		if f, is := told[s.Alerts[i].key()]; is {
			s.Alerts[i].Fact, s.Alerts[i].Told = f, now.UTC()
		}
	}
}

// trim drops the oldest messages where there are too many.
func (s *State) trim() {
	size := 0
	for i := len(s.Messages) - 1; i >= 0; i-- {
		m := s.Messages[i]
		for _, item := range m.Items {
			size += len(item.Text) + len(item.Subject) + len(item.Rule) + 100
		}
		if len(s.Messages)-i > maxMessages || size > maxWaiting {
			s.Messages, s.Lost = slices.Clone(s.Messages[i+1:]), s.Lost+i+1
			return
		}
	}
}

// Silenced reports whether a fact is not to be told.
func (s State) Silenced(f Fact) bool {
	return slices.ContainsFunc(s.Silences, func(x Silence) bool { return x.covers(f) })
}

// short bounds a text, and leaves one line of it that shows nothing on a screen but itself. It is valid UTF-8, so that
// it is the same after it was in the state: it is what an alert is known by.
func short(text string, most int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\ufffd"), func(r rune) bool {
		return r <= ' ' || r >= 0x7f && r <= 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
	}), " ")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
