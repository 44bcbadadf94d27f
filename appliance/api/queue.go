package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
)

// Queues answers for the lists of the queue.
type Queues interface {
	QueueAddress(ctx context.Context) (QueueAddress, error)
	QueueLen(ctx context.Context, key string) ([]Items, error)
	QueuePeek(ctx context.Context, key string, n int) (Items, error)
	QueuePush(ctx context.Context, key string, items []string) (Items, error)
	QueueClear(ctx context.Context, key string) (Items, error)
}

// QueuesArea serves the calls of Queues.
func QueuesArea(q Queues) Area {
	h := queuesHandler{q}
	return Area{
		"GET /v1/queue":          List(h.length),
		"GET /v1/queue/address":  Secret(Value(plain(q.QueueAddress))),
		"GET /v1/queue/items":    Value(h.peek),
		"POST /v1/queue/items":   Value(h.push),
		"DELETE /v1/queue/items": Value(h.clear),
	}
}

// QueueAddress holds what a program needs to speak to the queue.
type QueueAddress struct {
	URL      string `json:"url"` // redis://default:PASSWORD@ADDRESS:PORT; rediss:// with queue.tls
	Addr     string `json:"addr"`
	Password string `json:"password"`
}

// Items holds entries of a queue, its head first.
type Items struct {
	Key   string   `json:"key"`
	Len   int64    `json:"len"`
	Items []string `json:"items,omitempty"`
}

// QueueAddress returns where programs find the queue, with its password.
func (c *Client) QueueAddress(ctx context.Context) (v QueueAddress, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue/address", nil, &v)
}

// QueueLen returns the length of the list key, or of every list where key is
// empty.
func (c *Client) QueueLen(ctx context.Context, key string) (v []Items, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue?key="+url.QueryEscape(key), nil, &v)
}

// QueuePeek returns the first n items of the list key without taking them.
func (c *Client) QueuePeek(ctx context.Context, key string, n int) (v Items, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue/items?key="+url.QueryEscape(key)+"&n="+strconv.Itoa(n), nil, &v)
}

// QueuePush appends items to the list key and returns its new length.
func (c *Client) QueuePush(ctx context.Context, key string, items []string) (v Items, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/queue/items", Items{Key: key, Items: items}, &v)
}

// QueueClear deletes the list key and returns how long it was.
func (c *Client) QueueClear(ctx context.Context, key string) (v Items, err error) {
	return v, c.call(ctx, http.MethodDelete, "/v1/queue/items?key="+url.QueryEscape(key), nil, &v)
}

type queuesHandler struct{ queues Queues }

func (h queuesHandler) length(r *http.Request) ([]Items, error) {
	return h.queues.QueueLen(r.Context(), r.URL.Query().Get("key"))
}

func (h queuesHandler) peek(r *http.Request) (Items, error) {
	key, err := needed(r, "key")
	if err != nil {
		return Items{}, err
	}
	n, err := number(r, "n", 10)
	if err != nil {
		return Items{}, err
	}
	if n < 0 {
		return Items{}, Invalid("n is %d; it must be 0 or more", n)
	}
	return h.queues.QueuePeek(r.Context(), key, n)
}

func (h queuesHandler) push(r *http.Request) (Items, error) {
	var in Items
	if err := body(r, &in); err != nil {
		return Items{}, err
	}
	note(r, slog.String("key", in.Key), slog.Int("items", len(in.Items)))
	if in.Key == "" || len(in.Items) == 0 {
		return Items{}, Invalid("a push needs a key and items")
	}
	return h.queues.QueuePush(r.Context(), in.Key, in.Items)
}

func (h queuesHandler) clear(r *http.Request) (Items, error) {
	key, err := needed(r, "key")
	if err != nil {
		return Items{}, err
	}
	return h.queues.QueueClear(r.Context(), key)
}
