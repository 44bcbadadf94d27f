package api

import (
	"log/slog"
	"net/http"
)

func (h *handler) queueLen(r *http.Request) (any, error) {
	return list(h.b.QueueLen(r.Context(), r.URL.Query().Get("key")))
}

func (h *handler) queuePeek(r *http.Request) (any, error) {
	key, err := needed(r, "key")
	if err != nil {
		return nil, err
	}
	n, err := number(r, "n", 10)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, Invalid("n is %d; it must be 0 or more", n)
	}
	return h.b.QueuePeek(r.Context(), key, n)
}

func (h *handler) queuePush(r *http.Request) (any, error) {
	var in Items
	if err := body(r, &in); err != nil {
		return nil, err
	}
	note(r, slog.String("key", in.Key), slog.Int("items", len(in.Items)))
	if in.Key == "" || len(in.Items) == 0 {
		return nil, Invalid("a push needs a key and items")
	}
	return h.b.QueuePush(r.Context(), in.Key, in.Items)
}

func (h *handler) queueClear(r *http.Request) (any, error) {
	key, err := needed(r, "key")
	if err != nil {
		return nil, err
	}
	return h.b.QueueClear(r.Context(), key)
}
