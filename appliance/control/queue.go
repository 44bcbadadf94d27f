package control

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
)

// maxLists bounds how many lists a look at the whole queue names.
const maxLists = 1000

// Queues answers api.Queues on the node that has the queue.
type Queues struct {
	client *redis.Client
	state  func() queueproc.State
	url    url.URL
}

// NewQueues returns the queue that client speaks to, and others at addr.
func NewQueues(client *redis.Client, state func() queueproc.State, addr string, tls bool) *Queues {
	scheme := "redis"
	if tls {
		scheme = "rediss"
	}
	// redis-cli takes an empty user for one of that name, so it is spelt out.
	return &Queues{client, state, url.URL{
		Scheme: scheme,
		User:   url.UserPassword("default", client.Options().Password),
		Host:   addr,
	}}
}

// URL returns what a program connects to, with the password.
func (q *Queues) URL() string { return q.url.String() }

func (q *Queues) Report(_ context.Context, st *api.Status) {
	is := q.state()
	st.Queue = &api.Queue{
		Addr:      q.url.Host,
		Serving:   is.Serving,
		Restarts:  is.Restarts,
		Keys:      is.Progress.Keys,
		Clients:   is.Progress.Clients,
		Memory:    is.Progress.Memory,
		MaxMemory: is.Progress.Bound,
	}
	for _, m := range is.Missing {
		st.Queue.Lacks = append(st.Queue.Lacks, m.String())
	}
	st.Problems = append(st.Problems, queueProblems(is)...)
}

// running returns the client of a queue that runs.
func (q *Queues) running() (*redis.Client, error) {
	if is := q.state(); is.Problem != "" {
		return nil, api.Conflict("the queue does not run: %s", is.Problem)
	}
	return q.client, nil
}

func (q *Queues) QueueAddress(context.Context) (api.QueueAddress, error) {
	if _, err := q.running(); err != nil {
		return api.QueueAddress{}, err
	}
	password, _ := q.url.User.Password()
	return api.QueueAddress{URL: q.URL(), Addr: q.url.Host, Password: password}, nil
}

func (q *Queues) QueueLen(ctx context.Context, key string) ([]api.Items, error) {
	c, err := q.running()
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

func (q *Queues) QueuePeek(ctx context.Context, key string, n int) (api.Items, error) {
	c, err := q.running()
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

func (q *Queues) QueuePush(ctx context.Context, key string, items []string) (api.Items, error) {
	c, err := q.running()
	if err != nil {
		return api.Items{}, err
	}
	if key == "" || len(items) == 0 {
		return api.Items{}, api.Invalid("nothing to push; name a key and items, or give items on standard input with -")
	}
	n, err := c.RPush(ctx, key, items).Result()
	return api.Items{Key: key, Len: n}, queueError("write", key, err)
}

func (q *Queues) QueueClear(ctx context.Context, key string) (api.Items, error) {
	c, err := q.running()
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
		return api.Conflict("%s queue %s: the queue is full: take items out, or raise queue.max_memory and start "+
			"crawlbox again", verb, key)
	}
	return &api.Error{Code: api.CodeFailed, Message: fmt.Sprintf("%s queue %s: %s", verb, key, err)}
}
