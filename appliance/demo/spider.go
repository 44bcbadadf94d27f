package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

// SpiderCommand is the hidden command that the demo's containers run.
const SpiderCommand = "demo-spider"

// The spider's environment.
const (
	envQueue = "DEMO_QUEUE" // the URL
	envSlot  = "DEMO_SLOT"
)

// itemTime is how long the spider pretends to crawl one item.
const itemTime = 500 * time.Millisecond

// Spider takes items from the queue until it is empty, which is its good end.
func Spider(ctx context.Context, out io.Writer) error {
	url := os.Getenv(envQueue)
	if url == "" {
		return fmt.Errorf("%s is not set: %s is run by `crawlbox demo`, not by hand", envQueue, SpiderCommand)
	}
	q, err := openQueue(url)
	if err != nil {
		return err
	}
	defer q.Close()
	for {
		item, err := q.LPop(ctx, keyItems).Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("take an item: %w", err)
		}
		fmt.Fprintln(out, "got:", item)
		if err := clock.Sleep(ctx, itemTime); err != nil {
			return err
		}
		if err := q.SAdd(ctx, keySeen, item).Err(); err != nil {
			return fmt.Errorf("write a result: %w", err)
		}
		if err := q.HIncrBy(ctx, keyDone, os.Getenv(envSlot), 1).Err(); err != nil {
			return fmt.Errorf("write a result: %w", err)
		}
	}
}

// openQueue returns a client of the queue at url, as crawlbox queue url prints it.
func openQueue(url string) (*redis.Client, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		// The error itself would repeat the password.
		return nil, errors.New("the queue's URL cannot be read")
	}
	o.DisableIdentity = true
	return redis.NewClient(o), nil
}
