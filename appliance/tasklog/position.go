package tasklog

import (
	"context"
	"time"

	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Position is how far a log was read, such that who begins there reads no line twice and misses none, also where
// lines of both streams were under way.
type Position struct {
	Latest time.Time // of the messages that are read; zero: none is
	Same   int       // messages that have that time
	// Out and Err are lines of the two streams that come after these messages and were read too, up to Last.
	Out, Err int
	Last     time.Time
}

// Keep reads the log of one task, or what else e opens by id, from a position on, or no more than the last messages
// since where tail is not negative, and calls emit with each line and the position after it, until the log ends or
// breaks off. missed is called where there were messages between the position and the first one, at a time: tail
// leaves them out, or the rotation of Docker's files has.
func Keep(ctx context.Context, e Engine, id string, from Position, tail int, missed func(time.Time),
	emit func(Line, Position) error) error {
	l := newTaskLog(e, id, true)
	l.latest, l.same = from.Latest, from.Same
	k := keeping{from: from, known: from}
	k.known.Out, k.known.Err = 0, 0
	l.begins = func(t time.Time, before int) {
		if before > 0 && missed != nil && t.After(from.Latest) {
			missed(t)
			missed = nil
		}
		if len(l.joiner) == 0 {
			k.known = Position{Latest: l.latest, Same: l.same, Last: k.known.Last}
		}
	}
	take := func(line Line) error { return k.take(line, emit) }
	err := l.pass(ctx, swarm.LogOptions{Follow: true, Tail: tail}, take)
	if err == nil { // its end
		err = l.joiner.flush(take)
	}
	return err
}

// keeping is where a log that is kept stands.
type keeping struct {
	from  Position // where it began
	known Position // that is reached
}

func (k *keeping) take(line Line, emit func(Line, Position) error) error {
	left, n := &k.from.Out, &k.known.Out
	if line.Stream == Stderr {
		left, n = &k.from.Err, &k.known.Err
	}
	*n++
	if *left > 0 && !line.Time.After(k.from.Last) {
		*left--
		return nil
	}
	if line.Time.After(k.known.Last) {
		k.known.Last = line.Time
	}
	return emit(line, k.known)
}
