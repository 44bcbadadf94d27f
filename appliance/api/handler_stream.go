package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"time"
)

// trailerError carries, as JSON, the error that ended a stream of log lines: a
// line has no place for it.
const trailerError = "Crawlbox-Error"

func (h *handler) logs(r *http.Request, out *lines[LogLine]) error {
	q, err := logQuery(r)
	if err != nil {
		return err
	}
	return h.b.Logs(r.Context(), q, out.write)
}

func logQuery(r *http.Request) (q LogQuery, err error) {
	if q.Target, err = needed(r, "target"); err != nil {
		return q, err
	}
	if q.Follow, err = flag(r, "follow"); err != nil {
		return q, err
	}
	if q.Tail, err = number(r, "tail", -1); err != nil {
		return q, err
	}
	since := r.URL.Query().Get("since")
	if since == "" {
		return q, nil
	}
	if q.Since, err = time.Parse(time.RFC3339Nano, since); err != nil {
		return q, Invalid("since is %q; it must be a time such as 2006-01-02T15:04:05Z", since)
	}
	return q, nil
}

func (h *handler) scale(r *http.Request, out *lines[Event]) error {
	req, err := scaleRequest(r)
	if err != nil {
		return err
	}
	return h.b.Scale(r.Context(), req, out.write)
}

func (h *handler) scalePlan(r *http.Request) (any, error) {
	req, err := scaleRequest(r)
	if err != nil {
		return nil, err
	}
	return h.b.ScalePlan(r.Context(), req)
}

func scaleRequest(r *http.Request) (req ScaleRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.Any("replicas", req.Replicas))
	if len(req.Replicas) == 0 {
		return req, Invalid("scale needs at least one service")
	}
	for service, n := range req.Replicas {
		if service == "" || n < 0 {
			return req, Invalid("cannot scale %q to %d; replicas must be 0 or more", service, n)
		}
		if req.Now && n > 0 {
			return req, Invalid("cannot scale %q to %d now; only what stops is killed", service, n)
		}
	}
	return req, nil
}

func (h *handler) update(r *http.Request, out *lines[Event]) error {
	req, err := updateRequest(r)
	if err != nil {
		return err
	}
	return h.b.Update(r.Context(), req, out.write)
}

func (h *handler) updatePlan(r *http.Request) (any, error) {
	req, err := updateRequest(r)
	if err != nil {
		return nil, err
	}
	return h.b.UpdatePlan(r.Context(), req)
}

func updateRequest(r *http.Request) (req UpdateRequest, err error) {
	if err := body(r, &req); err != nil {
		return req, err
	}
	note(r, slog.String("service", req.Service), slog.String("image", req.Image))
	if req.Service == "" || req.Image == "" {
		return req, Invalid("update needs a service and an image")
	}
	return req, nil
}

func (h *handler) removeService(r *http.Request, out *lines[Event]) error {
	return h.b.RemoveService(r.Context(), r.PathValue("service"), out.write)
}

// lines writes a stream of values, one a line, each on its way at once.
type lines[T any] struct {
	w       http.ResponseWriter
	started bool
	last    T
}

func (l *lines[T]) write(v T) error {
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

// fail ends the stream with e: as an event of the whole where events are sent,
// unless the last one said it already, and in the trailer otherwise.
func (l *lines[T]) fail(e *Error) {
	last, ok := any(l.last).(Event)
	switch {
	case !ok:
		b, _ := json.Marshal(e)
		l.w.Header().Set(trailerError, string(b))
	case last.Err == nil:
		// The client is told by what it reads; there is nobody else to tell.
		_ = any(l).(*lines[Event]).write(Event{Err: e})
	}
}

// streamed answers what run writes. An error before the first line has its
// HTTP status, a later one ends the stream.
func streamed[T any](h *handler, run func(*http.Request, *lines[T]) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, done := h.recorded(r)
		out := &lines[T]{w: w}
		err := h.guard(r, func() error { return run(r, out) })
		done(err)
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
