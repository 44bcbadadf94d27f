package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
)

// handsOut are the reads that answer with a secret. The audit log has them, and
// all calls that change something.
var handsOut = map[string]bool{
	"GET /v1/token":         true,
	"GET /v1/queue/address": true,
	// Builds are given arguments, and some of them are secret.
	"GET /v1/definitions":               true,
	"GET /v1/services/{service}/source": true,
}

// harmless are the parameters that may stand in the audit log.
var harmless = []string{"role", "force", "ref", "key"}

// statusGone stands in the audit log where nobody waited for the answer.
const statusGone = 499

// notesKey finds in a context what a call itself adds to its record.
type notesKey struct{}

// recorded returns r as a call is to see it, and what writes its record to the
// audit log when it is done.
func (h *handler) recorded(r *http.Request) (*http.Request, func(error)) {
	read := strings.HasPrefix(r.Pattern, http.MethodGet+" ")
	if h.audit == nil || r.Pattern == "/" || read && !handsOut[r.Pattern] {
		return r, func(error) {}
	}
	notes := &[]slog.Attr{}
	r = r.WithContext(context.WithValue(r.Context(), notesKey{}, notes))
	return r, func(err error) {
		attrs := []slog.Attr{slog.String("method", r.Method), slog.String("path", auditPath(r.URL))}
		attrs = append(append(attrs, *notes...), peerAttrs(r.Context())...)
		h.audit("local-api", append(attrs, outcome(r.Context(), err)...)...)
	}
}

// note adds to the record of a call what its path does not say.
func note(r *http.Request, attrs ...slog.Attr) {
	if notes, ok := r.Context().Value(notesKey{}).(*[]slog.Attr); ok {
		*notes = append(*notes, attrs...)
	}
}

// outcome is the HTTP status that an end with err would have as the whole
// answer, and the error.
func outcome(ctx context.Context, err error) []slog.Attr {
	switch {
	case err == nil:
		return []slog.Attr{slog.Int("status", http.StatusOK)}
	case ctx.Err() != nil:
		return []slog.Attr{slog.Int("status", statusGone), slog.String("error", "the client went away")}
	}
	e := AsError(err)
	return []slog.Attr{slog.Int("status", e.status()), slog.String("error", e.Message)}
}

func auditPath(u *url.URL) string {
	given, shown := u.Query(), url.Values{}
	for _, name := range harmless {
		if given.Has(name) {
			shown.Set(name, given.Get(name))
		}
	}
	if len(shown) == 0 {
		return u.Path
	}
	return u.Path + "?" + shown.Encode()
}
