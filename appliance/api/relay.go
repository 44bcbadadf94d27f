package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// userHeader names the user who made a call on the node that passes it on.
const userHeader = "Crawlbox-User"

// Relayed returns an area whose calls another node answers, where far returns what passes them on to that;
// nil: this node answers.
func (a Area) Relayed(far func() http.Handler) Area {
	relayed := Area{}
	for pattern, route := range a {
		serve := route.serve
		route.serve = func(h *handler) http.Handler {
			near := serve(h)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				to := far()
				if to == nil {
					near.ServeHTTP(w, r)
					return
				}
				r, done := h.recorded(r)
				note(r, slog.Bool("passed-on", true))
				to.ServeHTTP(w, r)
				done(nil)
			})
		}
		relayed[pattern] = route
	}
	return relayed
}

// Relay returns what passes calls on to the API of another node at a URL, named for people.
func Relay(transport http.RoundTripper, to *url.URL, name string) http.Handler {
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,                         // events are on their way at once
		ErrorLog:      log.New(io.Discard, "", 0), // the caller hears of it
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Header.Set(userHeader, PeerUser(r.In.Context()))
		},
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode != http.StatusForbidden {
				return nil
			}
			return &Error{Code: CodeNotManager, Message: fmt.Sprintf("the manager %s does not take this node for a "+
				"manager, as after a demotion; run the command there", name)}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			e, refused := errors.AsType[*Error](err)
			if !refused {
				e = &Error{Code: CodeUnavailable, Message: fmt.Sprintf("the manager %s has to answer this, and does "+
					"not: %s; start crawlbox there, or see `crawlbox nodes`", name, err)}
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(e.status())
			_ = json.NewEncoder(w).Encode(e)
		},
	}
}

// relayKey finds in a context who made a call on another node.
type relayKey struct{}

type relayed struct{ user, node string }

// Passed serves calls that other nodes pass on. name is that of the node which sends a request.
func Passed(next http.Handler, name func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := relayed{user: r.Header.Get(userHeader), node: name(r)}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), relayKey{}, from)))
	})
}
