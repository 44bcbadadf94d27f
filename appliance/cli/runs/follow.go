package runs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/service"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

const (
	// askEvery is how often it is asked whether a run has ended.
	askEvery = time.Second
	// askPatience is how long crawlbox here may be away, such as while it is upgraded, until that is an error.
	askPatience = 3 * time.Minute
	// lastWords is how long the end of the log may take to come.
	lastWords = 5 * time.Second
	// quiet is how long nothing of it came once it has.
	quiet = time.Second
)

// follow shows what a run writes until its record is there, and ends with its exit code.
func follow(a *command.App, ctx context.Context, c *api.Client, r runs.Record, asJSON bool) error {
	var reading sync.WaitGroup
	log := &runLog{id: r.ID, client: c, show: service.LogWriter(a, false, false)}
	logged, end := context.WithCancel(ctx)
	defer reading.Wait()
	defer end()
	if !asJSON {
		reading.Go(func() { log.read(logged) })
	}
	r, err := await(ctx, c, r.ID, func(why string) {
		if !asJSON {
			_ = a.Tell("crawlbox: run %s waits: %s", r.ID, why)
		}
	})
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w; the run goes on, and `crawlbox run stop %s` ends it", command.ErrInterrupted, r.ID)
		}
		return err
	}
	if asJSON {
		err = a.PrintJSON(r)
	} else {
		log.finish(ctx)
		end()
		reading.Wait()
		err = a.Tell("crawlbox: %s", sentence(r))
	}
	return errors.Join(err, command.Exit(r.ExitCode))
}

// await waits until a run has ended. waits is called with why it has not started, once it does not for a moment.
func await(ctx context.Context, c *api.Client, id string, waits func(why string)) (runs.Record, error) {
	heard, why, said := time.Now(), "", ""
	for {
		r, err := c.Run(ctx, id)
		var refused *api.Error
		switch {
		case err == nil && !r.Ended.IsZero():
			return r, nil
		case err == nil:
			heard = time.Now()
			if r.State == runs.Waiting && r.Why != "" && r.Why == why && why != said {
				waits(why)
				said = why
			}
			why = r.Why
		case ctx.Err() != nil, errors.As(err, &refused) && refused.Code == api.CodeNotFound,
			time.Since(heard) > askPatience:
			r.ID = id
			return r, err
		}
		if clock.Sleep(ctx, askEvery) != nil {
			return runs.Record{Spec: runs.Spec{ID: id}}, ctx.Err()
		}
	}
}

// runLog follows what a run writes, also over a restart of the crawlbox here.
type runLog struct {
	id     string
	client *api.Client
	show   func(api.LogLine) error
	heard  atomic.Int64 // when a line came last, in Unix nanoseconds
}

func (l *runLog) read(ctx context.Context) {
	last := time.Time{}
	for ctx.Err() == nil {
		q := api.LogQuery{Target: l.id, Follow: true, Tail: -1, All: true}
		if !last.IsZero() {
			q.Since = last.Add(1)
		}
		_ = l.client.Logs(ctx, q, func(line api.LogLine) error { // it is tried again
			l.heard.Store(time.Now().UnixNano())
			if line.Time.After(last) {
				last = line.Time
			}
			return l.show(line)
		})
		_ = clock.Sleep(ctx, askEvery)
	}
}

// finish waits until no more comes.
func (l *runLog) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	for begun := time.Now(); clock.Sleep(ctx, quiet/4) == nil; {
		if last := time.Unix(0, l.heard.Load()); time.Since(last) > quiet && time.Since(begun) > quiet {
			return
		}
	}
}
