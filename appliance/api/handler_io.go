package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
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
	return Invalid("cannot read the request: %v", err)
}

func needed(r *http.Request, key string) (string, error) {
	v := r.URL.Query().Get(key)
	if v == "" {
		return "", Invalid("%s is missing", key)
	}
	return v, nil
}

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

func (h *handler) value(c call) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, done := h.recorded(r)
		var v any
		err := h.guard(r, func() (err error) {
			v, err = c(r)
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
func (h *handler) guard(r *http.Request, run func() error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares what is recovered the same way
			panic(p)
		}
		h.log.Error("a call of the API panicked", "call", r.Method+" "+r.URL.Path, "panic", p, "stack", string(debug.Stack()))
		err = &Error{Code: CodeInternal, Message: "crawlbox met a fault of its own in this call and goes on; its log has the details"}
	}()
	return run()
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
		h.log.Error("cannot encode an answer", "call", r.Method+" "+r.URL.Path, "err", err)
		http.Error(w, `{"code":"internal","message":"crawlbox could not encode its answer"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A failed write means that the client is gone.
	_, _ = w.Write(append(b, '\n'))
}
