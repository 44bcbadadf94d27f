package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// MaxKeys is how many keys of the queue are named at most.
const MaxKeys = 1000

// Queues answers for what the queue holds.
type Queues interface {
	QueueAddress(ctx context.Context) (QueueAddress, error)
	QueueLen(ctx context.Context, key string) ([]Items, error)
	QueueFlow(ctx context.Context, keys []string, most int) (QueueFlow, error)
	QueuePeek(ctx context.Context, key string, n int) (Items, error)
	QueuePush(ctx context.Context, key string, items []string) (Items, error)
	QueueClear(ctx context.Context, key string) (Items, error)
	QueueInFlight(ctx context.Context, key string, n int) (InFlight, error)
	QueueDead(ctx context.Context, key string, n int) ([]Items, error)
	QueueRetry(ctx context.Context, dead Items) (Items, error)
	QueueDrop(ctx context.Context, dead Items) (Items, error)
}

func QueuesArea(q Queues) Area {
	return Area{
		"GET /v1/queue": List(answered(query(optional, "key"), q.QueueLen)),
		"GET /v1/queue/flow": Value(func(r *http.Request) (flow QueueFlow, err error) {
			keys := r.URL.Query()["key"]
			n, err := number(r, "n", MaxKeys)
			if err != nil {
				return flow, err
			}
			if n < 1 || n > MaxKeys || len(keys) > MaxKeys {
				return flow, Invalid("ask for 1 to %d keys", MaxKeys)
			}
			return q.QueueFlow(r.Context(), keys, n)
		}),
		"GET /v1/queue/address": Secret(Value(plain(q.QueueAddress))),
		"GET /v1/queue/inflight": Value(func(r *http.Request) (held InFlight, err error) {
			key, n, err := some(r)
			if err != nil {
				return held, err
			}
			return q.QueueInFlight(r.Context(), key, n)
		}),
		"GET /v1/queue/dead": List(func(r *http.Request) ([]Items, error) {
			key, n, err := some(r)
			if err != nil {
				return nil, err
			}
			return q.QueueDead(r.Context(), key, n)
		}),
		"POST /v1/queue/dead/retry": Value(buried(q.QueueRetry)),
		"POST /v1/queue/dead/drop":  Value(buried(q.QueueDrop)),
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

// some returns of which key, if any, a call asks for how many items.
func some(r *http.Request) (key string, n int, err error) {
	if n, err = number(r, "n", MaxKeys); err == nil && (n < 1 || n > MaxKeys) {
		err = Invalid("ask for 1 to %d items", MaxKeys)
	}
	return r.URL.Query().Get("key"), n, err
}

// buried answers a call that moves dead items of a key.
func buried(move func(ctx context.Context, dead Items) (Items, error)) func(*http.Request) (Items, error) {
	return func(r *http.Request) (in Items, err error) {
		if err := body(r, &in); err != nil {
			return in, err
		}
		note(r, slog.String("key", in.Key), slog.Int("items", len(in.Items)))
		if in.Key == "" {
			return in, Invalid("no key is named; `crawlbox queue dead ls` lists those with dead items")
		}
		return move(r.Context(), in)
	}
}

// QueueAddress holds what a program needs to speak to the queue.
type QueueAddress struct {
	URL      string `json:"url"` // redis://default:PASSWORD@ADDRESS:PORT; rediss:// with queue.tls
	Addr     string `json:"addr"`
	Password string `json:"password"`
}

// Items holds entries of a key of the queue: those that are taken first come first.
type Items struct {
	Key   string   `json:"key"`
	Type  string   `json:"type,omitempty"` // list, set, zset, hash or string; empty: there is no such key
	Len   int64    `json:"len"`            // items, members or fields; of a string, 1
	Items []string `json:"items,omitempty"`

	Scores []float64 `json:"scores,omitempty"` // of the items of a zset
	Values []string  `json:"values,omitempty"` // of a hash, whose Items are the names of fields

	// InFlight and Dead are items of a safe key that consumers hold, and that came back too often. Of another key they
	// are nil, and so is InFlight where consumers hold more than is counted.
	InFlight *int64 `json:"in_flight,omitempty"`
	Dead     *int64 `json:"dead,omitempty"`
}

// InFlight holds items that consumers hold.
type InFlight struct {
	Items []HeldItem `json:"items"`
	More  bool       `json:"more,omitempty"` // there are, or may be, others
}

// MaxHeldItem is how much of an item that is held is told, in bytes.
const MaxHeldItem = 1024

// HeldItem is one of them.
type HeldItem struct {
	Key       string    `json:"key"`
	Item      string    `json:"item"`
	Cut       bool      `json:"cut,omitempty"`       // Item is its first MaxHeldItem bytes
	Container string    `json:"container,omitempty"` // its short ID, or the name of a connection from elsewhere
	Task      string    `json:"task,omitempty"`      // whose container it is, or where the connection comes from
	Node      string    `json:"node,omitempty"`
	Since     time.Time `json:"since"` // it was popped
}

// QueueFlow holds how much keys have at a moment, and what has come and gone.
type QueueFlow struct {
	At      time.Time `json:"at"`
	Keys    []KeyFlow `json:"keys"`
	More    int       `json:"more"`    // keys that are not in Keys
	Cut     bool      `json:"cut"`     // there are so many keys that not all were looked at
	Counted bool      `json:"counted"` // In and Out of the keys are known, which only crawlbox's own queue counts
}

// KeyFlow is one of them. In and Out are items since a moment that stays the same while somebody asks
// every minute.
type KeyFlow struct {
	Key  string `json:"key"`
	Type string `json:"type,omitempty"` // as in Items
	Len  int64  `json:"len"`
	In   int64  `json:"in"`
	Out  int64  `json:"out"`

	InFlight *int64 `json:"in_flight,omitempty"` // as in Items
}

// QueueAddress returns where programs find the queue, with its password.
func (c *Client) QueueAddress(ctx context.Context) (v QueueAddress, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue/address", nil, &v)
}

// QueueLen returns how many items a key has, or of MaxKeys keys where key is empty.
func (c *Client) QueueLen(ctx context.Context, key string) (v []Items, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue?key="+url.QueryEscape(key), nil, &v)
}

// QueueFlow returns how keys are, or the keys that have most items, most of them, where none is named.
func (c *Client) QueueFlow(ctx context.Context, keys []string, most int) (v QueueFlow, err error) {
	query := url.Values{"key": keys, "n": {strconv.Itoa(most)}}
	return v, c.call(ctx, http.MethodGet, "/v1/queue/flow?"+query.Encode(), nil, &v)
}

// QueuePeek returns the first n items of a key without taking them.
func (c *Client) QueuePeek(ctx context.Context, key string, n int) (v Items, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue/items?key="+url.QueryEscape(key)+"&n="+strconv.Itoa(n), nil, &v)
}

// QueuePush appends items to the list key and returns its new length.
func (c *Client) QueuePush(ctx context.Context, key string, items []string) (v Items, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/queue/items", Items{Key: key, Items: items}, &v)
}

// QueueClear deletes a key and returns how many items it had.
func (c *Client) QueueClear(ctx context.Context, key string) (v Items, err error) {
	return v, c.call(ctx, http.MethodDelete, "/v1/queue/items?key="+url.QueryEscape(key), nil, &v)
}

// QueueInFlight returns up to n items that consumers hold, of a key or of all where key is empty.
func (c *Client) QueueInFlight(ctx context.Context, key string, n int) (v InFlight, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue/inflight?"+keyAndNumber(key, n), nil, &v)
}

// QueueDead returns a key with the first n of its dead items, or n keys that have some, without them, where key is
// empty. Their Len is how many there are.
func (c *Client) QueueDead(ctx context.Context, key string, n int) (v []Items, err error) {
	return v, c.call(ctx, http.MethodGet, "/v1/queue/dead?"+keyAndNumber(key, n), nil, &v)
}

func keyAndNumber(key string, n int) string {
	return url.Values{"key": {key}, "n": {strconv.Itoa(n)}}.Encode()
}

// QueueRetry puts dead items of a key back into its queue, all where none is named. The answer's Len is how many.
func (c *Client) QueueRetry(ctx context.Context, dead Items) (v Items, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/queue/dead/retry", dead, &v)
}

// QueueDrop forgets dead items of a key, all where none is named. The answer's Len is how many.
func (c *Client) QueueDrop(ctx context.Context, dead Items) (v Items, err error) {
	return v, c.call(ctx, http.MethodPost, "/v1/queue/dead/drop", dead, &v)
}
