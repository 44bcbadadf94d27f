package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Keys in the queue.
const (
	keyItems = "crawlbox:demo:items"
	keyDone  = "crawlbox:demo:done" // replica → number of items it crawled
	keySeen  = "crawlbox:demo:seen" // the items crawled, each once
)

func (d *demo) fill(ctx context.Context) error {
	list := make([]any, items)
	for i := range list {
		list[i] = fmt.Sprintf("https://example.org/page/%d", i+1)
	}
	if err := d.queue.RPush(ctx, keyItems, list...).Err(); err != nil {
		return fmt.Errorf("fill the queue: %w", err)
	}
	d.step("queue is filled: %d items in %s", items, keyItems)
	return nil
}

// watch shows how the queue drains, until all items were crawled; then it
// removes the service.
func (d *demo) watch(ctx context.Context) error {
	begun, last := time.Now(), ""
	for {
		done, by, err := d.count(ctx)
		if err != nil {
			return err
		}
		if line := fmt.Sprintf("[%s%s] %d/%d items  %s", strings.Repeat("#", done), strings.Repeat(".", items-done),
			done, items, by); line != last {
			d.paint(line, done == items)
			last = line
		}
		if done == items {
			return d.result(ctx, time.Since(begun))
		}
		if clock.Sleep(ctx, 200*time.Millisecond) != nil {
			return d.gaveUp(ctx)
		}
	}
}

func (d *demo) count(ctx context.Context) (done int, by string, err error) {
	counts, err := d.queue.HGetAll(ctx, keyDone).Result()
	if err != nil {
		return 0, "", fmt.Errorf("look at the queue: %w", err)
	}
	parts := make([]string, 0, replicas)
	for i := 1; i <= replicas; i++ {
		slot := fmt.Sprint(i)
		if counts[slot] == "" {
			counts[slot] = "0"
		}
		var n int
		if _, err := fmt.Sscan(counts[slot], &n); err != nil {
			return 0, "", fmt.Errorf("look at the queue: %w", err)
		}
		done += n
		parts = append(parts, fmt.Sprintf("replica %d: %d", i, n))
	}
	return min(done, items), strings.Join(parts, ", "), nil
}

// paint repaints a line on a terminal. On a pipe every change would be much:
// there only the last one is printed.
func (d *demo) paint(line string, final bool) {
	switch {
	case d.Terminal && !final:
		fmt.Fprintf(d.Out, "\r         %s", line)
	case d.Terminal:
		fmt.Fprintf(d.Out, "\r         %s\n", line)
	case final:
		fmt.Fprintf(d.Out, "         %s\n", line)
	}
}

func (d *demo) result(ctx context.Context, took time.Duration) error {
	unique, err := d.queue.SCard(ctx, keySeen).Result()
	if err != nil {
		return fmt.Errorf("look at the queue: %w", err)
	}
	if unique != items {
		return fmt.Errorf("%d items were crawled, but only %d different ones", items, unique)
	}
	d.step("all %d items were crawled by %d replicas in %.1fs, none twice, none lost", items, replicas, took.Seconds())
	return d.removeService(ctx)
}

// gaveUp says why the crawl did not end: what its tasks say, if anything.
func (d *demo) gaveUp(ctx context.Context) error {
	if d.Terminal {
		fmt.Fprintln(d.Out)
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	snap, err := d.engine.Snapshot(tidy)
	if err != nil {
		return err
	}
	for _, t := range snap.Tasks {
		if t.Service == service && t.Error != "" {
			return fmt.Errorf("the crawl did not end within %s: %s", crawlTimeout, t.Error)
		}
	}
	return fmt.Errorf("the crawl did not end within %s", crawlTimeout)
}

// removeService removes the service, if it is there, and waits for its
// containers to go.
func (d *demo) removeService(ctx context.Context) error {
	svc, err := d.engine.Service(ctx, service)
	if errors.Is(err, swarm.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	err = deploy.NewRunner(d.engine, nil, nil, d.Log).Remove(svc).Run(ctx, func(deploy.Progress) {})
	if err == nil {
		d.step("service is removed")
	}
	return err
}
