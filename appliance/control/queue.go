package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/sandbox"
)

// maxLists bounds how many lists a look at the whole queue names.
const maxLists = 1000

func (b *Backend) queueClient() (*redis.Client, error) {
	if b.Queue != nil {
		if is := b.QueueState(); is.Problem != "" {
			return nil, api.Conflict("the queue does not run: %s", is.Problem)
		}
		return b.Queue, nil
	}
	if !b.PrimaryHere {
		return nil, b.onlyOn("the queue")
	}
	return nil, api.Conflict("the queue is off; put `queue: {}` into %s and start crawlbox again", b.Cfg.File)
}

func (b *Backend) QueueAddress(context.Context) (api.QueueAddress, error) {
	c, err := b.queueClient()
	if err != nil {
		return api.QueueAddress{}, err
	}
	v := api.QueueAddress{Addr: net.JoinHostPort(b.Addr, strconv.Itoa(int(b.Cfg.Queue.Port))), Password: c.Options().Password}
	scheme := "redis"
	if b.Cfg.Queue.TLS {
		scheme = "rediss"
	}
	// redis-cli takes an empty user for one of that name, so it is spelt out.
	v.URL = (&url.URL{Scheme: scheme, User: url.UserPassword("default", v.Password), Host: v.Addr}).String()
	return v, nil
}

func (b *Backend) QueueLen(ctx context.Context, key string) ([]api.Items, error) {
	c, err := b.queueClient()
	if err != nil {
		return nil, err
	}
	keys := []string{key}
	if key == "" {
		if keys, err = lists(ctx, c); err != nil {
			return nil, queueError("list", "*", err)
		}
	}
	items := make([]api.Items, 0, len(keys))
	for _, k := range keys {
		n, err := c.LLen(ctx, k).Result()
		if err != nil {
			return nil, queueError("read", k, err)
		}
		items = append(items, api.Items{Key: k, Len: n})
	}
	return items, nil
}

func lists(ctx context.Context, c *redis.Client) ([]string, error) {
	var keys []string
	it := c.ScanType(ctx, 0, "*", maxLists, "list").Iterator()
	for it.Next(ctx) && len(keys) < maxLists {
		keys = append(keys, it.Val())
	}
	slices.Sort(keys)
	return keys, it.Err()
}

func (b *Backend) QueuePeek(ctx context.Context, key string, n int) (api.Items, error) {
	c, err := b.queueClient()
	if err != nil {
		return api.Items{}, err
	}
	if n < 1 {
		return api.Items{}, api.Invalid("%d items can't be shown; ask for 1 or more", n)
	}
	length, err := c.LLen(ctx, key).Result()
	if err != nil {
		return api.Items{}, queueError("read", key, err)
	}
	items, err := c.LRange(ctx, key, 0, int64(n)-1).Result()
	return api.Items{Key: key, Len: length, Items: items}, queueError("read", key, err)
}

func (b *Backend) QueuePush(ctx context.Context, key string, items []string) (api.Items, error) {
	c, err := b.queueClient()
	if err != nil {
		return api.Items{}, err
	}
	if key == "" || len(items) == 0 {
		return api.Items{}, api.Invalid("nothing to push; name a key and items, or give items on standard input with -")
	}
	n, err := c.RPush(ctx, key, items).Result()
	return api.Items{Key: key, Len: n}, queueError("write", key, err)
}

func (b *Backend) QueueClear(ctx context.Context, key string) (api.Items, error) {
	c, err := b.queueClient()
	if err != nil {
		return api.Items{}, err
	}
	n, err := c.LLen(ctx, key).Result()
	if err != nil {
		return api.Items{}, queueError("read", key, err)
	}
	return api.Items{Key: key, Len: n}, queueError("clear", key, c.Del(ctx, key).Err())
}

func queueError(verb, key string, err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case strings.HasPrefix(err.Error(), "WRONGTYPE"):
		return api.Invalid("%s is not a list; see what it is with `redis-cli type %s`", key, key)
	}
	if strings.HasPrefix(err.Error(), "OOM ") {
		return api.Conflict("%s queue %s: the queue is full: take items out, or raise queue.max_memory and start crawlbox again", verb, key)
	}
	return &api.Error{Code: api.CodeFailed, Message: fmt.Sprintf("%s queue %s: %s", verb, key, err)}
}

// queueTroubles are sentences on what is not as it should be with the queue.
func queueTroubles(st queueproc.State) (list []string) {
	if st.Problem != "" {
		list = append(list, fmt.Sprintf("the queue does not run: %s; it is tried again by itself, and all else goes on", st.Problem))
	}
	if is := st.Progress; is.Bound > 0 && is.Memory >= is.Bound {
		list = append(list, "the queue is full, and refuses what makes it larger with OOM: take items out, or raise queue.max_memory and start crawlbox again")
	}
	if st.Progress.NoDisk {
		list = append(list, "the queue cannot write to its disk, and refuses writes until it can: free space there; the log says which file and why")
	}
	for _, m := range st.Missing {
		if m.Step != sandbox.StepNamespaces {
			list = append(list, fmt.Sprintf("the queue's process %s; `crawlbox install manager` writes a unit that allows that", m))
		}
	}
	return list
}
