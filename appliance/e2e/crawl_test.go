package e2e

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// crawlList is the list that a crawl fills and drains.
const crawlList = "crawl"

// crawl pushes the numbers 1, 2, 3 … into the queue and pops every second one,
// as fast as the queue goes, until it cannot. It remembers when each was
// acknowledged, so that a test can tell what a crash may have lost.
type crawl struct {
	mu     sync.Mutex
	pushed []time.Time // of the numbers from 1 on
	popped []time.Time
	done   chan struct{}
	cancel context.CancelFunc
}

// startCrawl crawls from a host; it is stopped when the test ends.
func startCrawl(t *testing.T, from, manager *lab.Host) *crawl {
	ctx, cancel := context.WithCancel(context.Background())
	c := &crawl{done: make(chan struct{}), cancel: cancel}
	client := queueClient(from, manager)
	go func() {
		defer close(c.done)
		defer client.Close()
		c.run(ctx, client)
	}()
	t.Cleanup(c.stop)
	return c
}

// queueClient makes a client that tries each command, and each connection, once: it must not go
// on with a queue that was started again.
func queueClient(from, manager *lab.Host) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: manager.At(7891), Password: password,
		Dialer: from.DialContext, MaxRetries: -1, DialerRetries: 1, DisableIdentity: true,
	})
}

func (c *crawl) stop() {
	c.cancel()
	<-c.done
}

func (c *crawl) run(ctx context.Context, client *redis.Client) {
	for i := 1; ; i++ {
		if client.RPush(ctx, crawlList, i).Err() != nil {
			return
		}
		c.note(&c.pushed)
		if i%2 != 0 {
			continue
		}
		if client.LPop(ctx, crawlList).Err() != nil {
			return
		}
		c.note(&c.popped)
	}
}

func (c *crawl) note(list *[]time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*list = append(*list, time.Now())
}

// lasted returns for how long items have been popped.
func (c *crawl) lasted() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.popped) == 0 {
		return 0
	}
	return c.popped[len(c.popped)-1].Sub(c.popped[0])
}

// check reports whether the list is what it may be after the queue was killed at
// the moment given: without gaps, with no more undone than was done in the last
// second, and nothing done that was never asked for.
func (c *crawl) check(list []string, killed time.Time) error {
	<-c.done
	if len(list) == 0 {
		return fmt.Errorf("all of %d items are lost", len(c.pushed)-len(c.popped))
	}
	first, err := strconv.Atoi(list[0])
	if err != nil {
		return err
	}
	for i, item := range list {
		if item != strconv.Itoa(first+i) {
			return fmt.Errorf("item %s follows %d", item, first+i-1)
		}
	}
	popped, pushed := first-1, first-1+len(list)
	safe := killed.Add(-time.Second)
	if low, high := before(c.popped, safe), len(c.popped)+1; popped < low || popped > high {
		return fmt.Errorf("%d items are popped, want %d to %d", popped, low, high)
	}
	if low, high := before(c.pushed, safe), len(c.pushed)+1; pushed < low || pushed > high {
		return fmt.Errorf("%d items were pushed, want %d to %d", pushed, low, high)
	}
	return nil
}

func before(times []time.Time, limit time.Time) (n int) {
	for n < len(times) && times[n].Before(limit) {
		n++
	}
	return n
}
