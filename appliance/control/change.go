package control

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// run makes a change, unless it could not be decided, shows how far it is, and what the
// task wrote last by which a version was found bad. The change goes on or ends by its own
// context when the client is gone.
func (b *Backend) run(ctx context.Context, change deploy.Change, undecided error, see func(deploy.Progress) error) error {
	if undecided != nil {
		return b.explain(undecided)
	}
	var gone error
	err := change.Run(ctx, func(p deploy.Progress) {
		if gone == nil {
			gone = see(p)
		}
	})
	b.lastWords(ctx, err, see)
	return b.explain(cmp.Or(err, gone))
}

// plan says what a change would do, unless it could not be decided.
func (b *Backend) plan(ctx context.Context, change deploy.Change, undecided error) (deploy.Plan, error) {
	if undecided != nil {
		return deploy.Plan{}, b.explain(undecided)
	}
	p, err := change.Plan(ctx)
	return p, b.explain(err)
}

// serial lets several changes share one stream.
func serial(fn func(deploy.Progress) error) func(deploy.Progress) error {
	var mu sync.Mutex
	return func(p deploy.Progress) error {
		mu.Lock()
		defer mu.Unlock()
		return fn(p)
	}
}

// lastWordsLines is how much of what a failed task wrote is shown.
const lastWordsLines = 5

// lastWords shows what the task wrote last by which a version was found bad.
func (b *Backend) lastWords(ctx context.Context, failed error, see func(deploy.Progress) error) {
	service, task := deploy.FailedTask(failed)
	if task == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := b.Engine.Logs(ctx, task, true, swarm.LogOptions{Tail: lastWordsLines}, func(l swarm.LogLine) error {
		return see(deploy.Progress{Service: service, Stage: history.StageWatch, Note: "log: " + l.Text})
	})
	if err != nil {
		b.Log.Debug("read what a failed task wrote", "task", task, "error", fmt.Sprint(err))
	}
}
