// Package tasklog reads what tasks write. Everything that shows or searches logs reads them
// here: Docker has two forms of them, cuts long lines into pieces, mixes those of several tasks,
// and loses the end of some.
//
// Each task has a stream of its own from the engine of this node, to which Swarm brings it from
// the node that runs the task. So a line is of the task whose stream it came by, whatever it
// says, and the lines of many are put in the order of time while they come: a task that is
// read waits until it has the oldest line. What is kept of a task is one line of a stream and
// the beginning of the next.
package tasklog

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Engine is where logs are read. *swarm.Engine is one.
type Engine interface {
	// OpenLog opens the log of a task, by ID, as Docker sends it: with the time of each
	// message.
	OpenLog(ctx context.Context, task string, o swarm.LogOptions) (io.ReadCloser, error)
}

// Last returns the last n lines of a task, by ID.
func Last(ctx context.Context, e Engine, task string, n int) (last []Line, err error) {
	_, err = newTaskLog(e, task, false).tail(ctx, n, n*MaxLine, time.Time{}, func(line Line) error {
		last = append(last, line)
		return nil
	})
	return last, err
}

// Ends returns the last lines of a task, by ID, so many at the most and in most bytes, and the first ones, unless the
// last are all there are. It keeps no more of each than most bytes and a line.
func Ends(ctx context.Context, e Engine, task string, first, last, most int) (begin, end []Line, err error) {
	cut, err := newTaskLog(e, task, false).tail(ctx, last, most, time.Time{}, func(line Line) error {
		end = append(end, line)
		return nil
	})
	if err != nil || !cut && len(end) < last {
		return nil, end, err
	}
	begin, err = firstLines(ctx, e, task, first, most)
	if i := slices.IndexFunc(begin, func(l Line) bool { return !l.Time.Before(end[0].Time) }); i >= 0 {
		begin = begin[:i] // the last ones are long
	}
	return begin, end, err
}

// errEnough ends the reading of a log.
var errEnough = errors.New("enough is read")

func firstLines(ctx context.Context, e Engine, task string, n, most int) (list []Line, err error) {
	size := 0
	err = newTaskLog(e, task, false).read(ctx, swarm.LogOptions{Tail: -1}, func(line Line) error {
		if len(list) < n && size < most {
			list, size = append(list, line), size+len(line.Text)
		}
		if len(list) == n || size >= most {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return list, err
}
