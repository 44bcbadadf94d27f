// Package api is the local API of a node: HTTP and JSON over the unix socket
// that the command line speaks to. Each Area is one subject: the interface that answers,
// the wire types, the paths and the Client's methods. The Handler serves the areas that it
// is given, these and others.
//
// Reads answer one JSON value. What takes time (scale, update, remove, logs)
// answers a stream of JSON values, one a line, and an error after the first
// value arrives as a value too: see progressLine. An error before it is an Error with
// its HTTP status. The client may go away at any time; what it had started
// goes on where Swarm has it already, and nothing is taken back.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/caught"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
)

// Area is the calls of one subject, by method and path. The functions that make the
// areas of this package are given what answers their calls: its methods may be called at
// the same time, and end soon after their context does. What a stream is sent by is
// called by one goroutine at a time, and no longer once the method has returned; the
// method stops when it fails. An error that the user can do something about is an *Error.
type Area map[string]Route

type Route struct {
	serve func(h *handler) http.Handler
	// secret is of a read that answers with a secret. The audit log has them, and all
	// calls that change something.
	secret bool
	// streams are the answers of one whose client does not hold up what it asks for.
	streams bool
}

// Audit is told of each call that changes something or hands out a secret, when it is
// done: with the caller, as far as the server uses ConnContext, and without any secret.
type Audit func(event string, attrs ...slog.Attr)

// Handler serves the calls of areas. A call whose client has gone away is cancelled. A
// panic becomes an internal error and a line in log. audit may be nil.
func Handler(audit Audit, log *slog.Logger, areas ...Area) http.Handler {
	mux := http.NewServeMux()
	h := &handler{audit: audit, log: log, secret: map[string]bool{}}
	for _, area := range areas {
		for pattern, route := range area {
			mux.Handle(pattern, route.serve(h))
			h.secret[pattern] = route.secret
		}
	}
	mux.Handle("/", Action(unknownCall).serve(h))
	return mux
}

// Value answers one JSON value.
func Value[T any](call func(*http.Request) (T, error)) Route {
	return Route{serve: func(h *handler) http.Handler {
		return h.value(func(r *http.Request) (any, error) { return call(r) })
	}}
}

// List answers a list: an empty one as [], not as null.
func List[T any](call func(*http.Request) ([]T, error)) Route {
	return Value(func(r *http.Request) ([]T, error) {
		list, err := call(r)
		if list == nil {
			list = []T{}
		}
		return list, err
	})
}

// Action answers that it was done.
func Action(call func(*http.Request) error) Route {
	return Route{serve: func(h *handler) http.Handler {
		return h.value(func(r *http.Request) (any, error) { return nil, call(r) })
	}}
}

// Events answers what call sends. Sending does not wait for the client: lag says what a slow
// one misses.
func Events[T any](lag Lag[T], call func(r *http.Request, send func(T) error) error) Route {
	erased := func(r *http.Request, send func(any) error) error {
		return call(r, func(v T) error { return send(v) })
	}
	return Route{
		serve:   func(h *handler) http.Handler { return streamed(h, lag.ofAny(), erased) },
		streams: true,
	}
}

// Tunnel answers with a connection, to which the client's own is upgraded.
func Tunnel(call func(*http.Request) (io.ReadWriteCloser, error)) Route {
	return Route{serve: func(h *handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r, done := h.recorded(r)
			var far io.ReadWriteCloser
			err := h.guard(r, func() (err error) {
				far, err = call(r)
				return err
			})
			done(err)
			if err != nil {
				h.refuse(w, r, err)
				return
			}
			near, err := taskexec.Accept(w, r)
			if err != nil {
				far.Close()
				h.refuse(w, r, Invalid("%s", err))
				return
			}
			taskexec.Relay(r.Context(), near, far)
		})
	}}
}

// Secret is a read whose answer is a secret.
func Secret(r Route) Route {
	r.secret = true
	return r
}

func unknownCall(r *http.Request) error {
	return NotFound("no such call: %s %s; %s", r.Method, r.URL.Path, otherVersion)
}

type handler struct {
	audit  Audit
	log    *slog.Logger
	secret map[string]bool // patterns of reads that answer with a secret
}

// value answers one JSON value; a nil value without an error answers nothing.
func (h *handler) value(call func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, done := h.recorded(r)
		var v any
		err := h.guard(r, func() (err error) {
			v, err = call(r)
			return err
		})
		done(err)
		switch {
		case r.Context().Err() != nil:
			return
		case err != nil:
			h.refuse(w, r, err)
		case v == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			h.answer(w, r, http.StatusOK, v)
		}
	})
}

// guard turns a panic of run into an error, but for the one that breaks a
// connection off.
func (h *handler) guard(r *http.Request, run func() error) error {
	err := caught.Run(h.log, r.Method+" "+r.URL.Path, run)
	if errors.Is(err, caught.ErrInternal) {
		return &Error{Code: CodeInternal, Message: err.Error()}
	}
	return err
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := AsError(err)
	if e.Code == CodeInternal {
		h.log.Warn("a call of the API failed", "call", r.Method+" "+r.URL.Path, "err", err)
	}
	h.answer(w, r, e.status(), e)
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		h.log.Error("failed to encode an answer", "call", r.Method+" "+r.URL.Path, "err", err)
		http.Error(w, `{"code":"internal","message":"crawlbox could not encode its answer"}`,
			http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A failed write means that the client is gone.
	_, _ = w.Write(append(b, '\n'))
}

// trailerError carries, as JSON, the error that ended a stream of log lines: a
// line has no place for it.
const trailerError = "Crawlbox-Error"

// lines writes a stream of values, one a line, each on its way at once.
type lines struct {
	w       http.ResponseWriter
	started bool
	last    any
}

func (l *lines) write(v any) error {
	if !l.started {
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.Header().Set("Trailer", trailerError)
		l.started = true
	}
	l.last = v
	if err := json.NewEncoder(l.w).Encode(v); err != nil {
		return err
	}
	return http.NewResponseController(l.w).Flush()
}

// progressLine is a line of a stream of progress. The last one of a change that failed after its
// first line has the error and nothing else.
type progressLine struct {
	deploy.Progress
	Err *Error `json:"error,omitempty"`
}

// fail ends the stream with e: by a line where progress is sent, and in the trailer
// otherwise.
func (l *lines) fail(e *Error) {
	if _, ok := l.last.(deploy.Progress); ok {
		// The client learns it from what it reads.
		_ = json.NewEncoder(l.w).Encode(progressLine{Err: e})
		return
	}
	b, _ := json.Marshal(e)
	l.w.Header().Set(trailerError, string(b))
}

// streamed answers what call sends. An error before the first line has its HTTP status, a
// later one ends the stream.
func streamed(h *handler, lag lag, call func(*http.Request, func(any) error) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, done := h.recorded(r)
		out := &lines{w: w}
		send, drain := out.write, func() {}
		if lag.waits == nil || !lag.waits(r) {
			box := newOutbox(lag, out.write)
			send, drain = box.send, func() { box.drain(r.Context(), w) }
		}
		defer drain() // of a connection that is broken off, too
		err := h.guard(r, func() error { return call(r, send) })
		done(err)
		drain()
		switch {
		case r.Context().Err() != nil:
			return
		case err != nil && out.started:
			out.fail(AsError(err))
		case err != nil:
			h.refuse(w, r, err)
		case !out.started:
			w.Header().Set("Content-Type", "application/x-ndjson")
		}
	})
}

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

// moment reads a time; zero where there is none.
func moment(r *http.Request, key string) (t time.Time, err error) {
	v := r.URL.Query().Get(key)
	if v == "" {
		return t, nil
	}
	if t, err = time.Parse(time.RFC3339Nano, v); err != nil {
		return t, Invalid("%s is %q; it must be a time such as 2006-01-02T15:04:05Z", key, v)
	}
	return t, nil
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
