package alerts

import (
	"slices"
	"time"
)

const (
	// ClaimFor is how long one has to send what it has claimed. It is longer than a try may take, by what managers'
	// clocks may differ.
	ClaimFor = time.Minute
	// firstRetry is how long after a failed try there is another; the time doubles each time, up to mostRetry.
	firstRetry, mostRetry = 5 * time.Second, 5 * time.Minute
	// patience is how long it is tried to send a message.
	patience = 24 * time.Hour
	// maxRefused is how often one is sent that the receiver does not take as it is.
	maxRefused = 3
)

// Failure is why a message could not be sent.
type Failure struct {
	Why     string
	Refused bool          // the receiver was there, and does not take this message
	After   time.Duration // it asks to be left alone for so long; 0: it does not
}

// Claim returns the state in which by has claimed the messages that are due, and these: the oldest of each channel, so
// that they arrive in order. Those of channels that are no longer there are dropped.
func (s State) Claim(by string, channels []string, now time.Time) (State, []Message) {
	n := len(s.Messages)
	s.Messages = slices.DeleteFunc(slices.Clone(s.Messages), func(m Message) bool {
		return !slices.Contains(channels, m.Channel)
	})
	s.Lost += n - len(s.Messages)
	var mine []Message
	first := map[string]bool{}
	for i := range s.Messages {
		m := &s.Messages[i]
		if first[m.Channel] {
			continue
		}
		first[m.Channel] = true
		if now.Before(m.Next) || now.Before(m.Claim.Until) && m.Claim.By != "" {
			continue
		}
		m.Claim = Claim{by, now.Add(ClaimFor).UTC()}
		mine = append(mine, *m)
	}
	return s, mine
}

// Sent returns the state without a message that was sent.
func (s State) Sent(id string) State {
	s.Messages = slices.DeleteFunc(slices.Clone(s.Messages), func(m Message) bool { return m.ID == id })
	return s
}

// Failed returns the state after by could not send a message.
func (s State) Failed(id, by string, f Failure, now time.Time) State {
	s.Messages = slices.Clone(s.Messages)
	i := slices.IndexFunc(s.Messages, func(m Message) bool { return m.ID == id && m.Claim.By == by })
	if i < 0 {
		return s
	}
	m := &s.Messages[i]
	m.Tries++
	m.Why, m.Claim = short(f.Why, maxText), Claim{}
	if m.Since.IsZero() {
		m.Since = now.UTC()
	}
	if now.Sub(m.Since) >= patience || f.Refused && m.Tries >= maxRefused {
		s.Lost++
		s.Messages = slices.Delete(s.Messages, i, i+1)
		return s
	}
	wait := min(mostRetry, firstRetry<<min(m.Tries-1, 10))
	if f.Refused {
		wait = mostRetry // it may take it once it was mended
	}
	m.Next = now.Add(max(wait, min(f.After, mostRetry))).UTC()
	return s
}
