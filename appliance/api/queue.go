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

func QueuesArea(q Queues) Area {
	return Area{
		"GET /v1/queue":         List(answered(query(optional, "key"), q.QueueLen)),
		"GET /v1/queue/address": Secret(Value(plain(q.QueueAddress))),
		"GET /v1/queue/items": Value(func(r *http.Request) (items Items, err error) {
			key, err := needed(r, "key")
			if err != nil {
				return items, err
			}
			n, err := number(r, "n", 10)
			if err != nil {
				return items, err
			}
			if n < 0 {
				return items, Invalid("n is %d; it must be 0 or more", n)
			}
			return q.QueuePeek(r.Context(), key, n)
		}),
		"POST /v1/queue/items": Value(func(r *http.Request) (in Items, err error) {
			if err := body(r, &in); err != nil {
				return in, err
			}
			note(r, slog.String("key", in.Key), slog.Int("items", len(in.Items)))
			if in.Key == "" || len(in.Items) == 0 {
				return in, Invalid("a push needs a key and items")
			}
			return q.QueuePush(r.Context(), in.Key, in.Items)
		}),
		"DELETE /v1/queue/items": Value(answered(query(needed, "key"), q.QueueClear)),
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
