package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// MaxBody is the size of a request's body, in bytes, that Handler reads. The
// largest ones are items for a queue.
const MaxBody = 8 << 20

// body reads the one JSON value of a request. It reads to the end also because
// net/http notices a client that goes away only after that.
func body(r *http.Request, v any) error {
	err := bound.Strict(r.Body, MaxBody, v)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bound.ErrTooLong):
		return Invalid("the request is larger than %d bytes; send it in parts", MaxBody)
	}
	return unreadable(err)
}

// otherVersion is what may be the reason why a command and a node do not understand each other.
const otherVersion = "the crawlbox that runs here may be of another version than this command"

// unreadable is the error of a request that is not written as this version does.
func unreadable(err error) error {
	return Invalid("cannot read the request: %v; %s", err, otherVersion)
}

func needed(r *http.Request, key string) (string, error) {
	v := r.URL.Query().Get(key)
	if v == "" {
		return "", Invalid("%s is missing", key)
	}
	return v, nil
}

func optional(r *http.Request, key string) (string, error) { return r.URL.Query().Get(key), nil }

func flag(r *http.Request, key string) (bool, error) {
	v := r.URL.Query().Get(key)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, Invalid("%s is %q; it is true or false", key, v)
	}
	return b, nil
}

func number(r *http.Request, key string, unset int) (int, error) {
	v := r.URL.Query().Get(key)
	if v == "" {
		return unset, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, Invalid("%s is %q; it must be a whole number", key, v)
	}
	return n, nil
}

// plain is a call that asks for nothing but the answer.
func plain[T any](do func(context.Context) (T, error)) func(*http.Request) (T, error) {
	return func(r *http.Request) (T, error) { return do(r.Context()) }
}

// answered is a call that asks with what read finds in its request.
func answered[Q, T any](read func(*http.Request) (Q, error),
	do func(context.Context, Q) (T, error)) func(*http.Request) (T, error) {
	return func(r *http.Request) (answer T, err error) {
		q, err := read(r)
		if err != nil {
			return answer, err
		}
		return do(r.Context(), q)
	}
}

// done is answered for a call that answers only that it was done.
func done[Q any](read func(*http.Request) (Q, error),
	do func(context.Context, Q) error) func(*http.Request) error {
	return func(r *http.Request) error {
		q, err := read(r)
		if err != nil {
			return err
		}
		return do(r.Context(), q)
	}
}

// asked is answered for a call that answers a stream.
func asked[Q, T any](read func(*http.Request) (Q, error),
	do func(context.Context, Q, func(T) error) error) func(*http.Request, func(T) error) error {
	return func(r *http.Request, send func(T) error) error {
		q, err := read(r)
		if err != nil {
			return err
		}
		return do(r.Context(), q, send)
	}
}

func path(name string) func(*http.Request) (string, error) {
	return func(r *http.Request) (string, error) { return r.PathValue(name), nil }
}

var service = path("service")

// query reads a parameter, by needed, flag or optional.
func query[T any](read func(*http.Request, string) (T, error), key string) func(*http.Request) (T, error) {
	return func(r *http.Request) (T, error) { return read(r, key) }
}
