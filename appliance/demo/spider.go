package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
)

// SpiderCommand is the hidden command that the demo's containers run.
const SpiderCommand = "demo-spider"

// The spider's environment.
const (
	envQueue    = "DEMO_QUEUE"
	envPassword = "DEMO_PASSWORD"
	envSlot     = "DEMO_SLOT"
)

// itemTime is how long the spider pretends to crawl one item.
const itemTime = 500 * time.Millisecond

// Spider takes items from the queue until it is empty, which is its good end.
func Spider(ctx context.Context, out io.Writer) error {
	addr := os.Getenv(envQueue)
	if addr == "" {
		return fmt.Errorf("%s is not set: %s is run by `crawlbox demo`, not by hand", envQueue, SpiderCommand)
	}
	q := redis.NewClient(&redis.Options{Addr: addr, Password: os.Getenv(envPassword), DisableIdentity: true})
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
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(itemTime):
		}
		if err := q.SAdd(ctx, keySeen, item).Err(); err != nil {
			return fmt.Errorf("write a result: %w", err)
		}
		if err := q.HIncrBy(ctx, keyDone, os.Getenv(envSlot), 1).Err(); err != nil {
			return fmt.Errorf("write a result: %w", err)
		}
	}
}
