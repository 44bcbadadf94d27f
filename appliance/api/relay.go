package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

// userHeader names the user who made a call on the node that passes it on.
const userHeader = "Crawlbox-User"

// movedHeader is in the answer of a node that does not lead any longer, or not yet.
const movedHeader = "Crawlbox-Moved"

// Pass passes a call on to another node. The error, of one line, is that it was not answered, and nothing was written;
// it is errAgain where the call was not made either, so that it may be tried again.
type Pass func(http.ResponseWriter, *http.Request) error

// Far says where a call is answered: pass passes it on, nil: this node answers. It is not known while the node that
// answers is another every moment.
type Far func() (pass Pass, known bool)

// AnswerHere is the Far of what each node answers itself.
func AnswerHere() (pass Pass, known bool) { return nil, true }

// patience is how long a call is tried again while nobody is known who answers it, or who is does not: Swarm takes up
// to 20 s to have another leader. Tests have less of it.
var patience = 30 * time.Second

const (
	// pause is how long it waits in between.
	pause = 300 * time.Millisecond
	// maxHeld bounds the body of a call that can be made again, in bytes; a longer one is passed on once.
	maxHeld = 1 << 20
)

// Relayed returns an area whose calls the node answers that far says. While nobody is known, reads are answered here,
// and other calls wait for a bounded time.
func (a Area) Relayed(far Far) Area {
	return a.wrapped(func(h *handler, near http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.relay(far, near, w, r) })
	})
}

// While returns an area that is answered only where leads is true, for calls that other nodes pass on.
func (a Area) While(leads func() bool) Area {
	return a.wrapped(func(h *handler, near http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if leads() {
				near.ServeHTTP(w, r)
				return
			}
			w.Header().Set(movedHeader, "true")
			h.refuse(w, r, &Error{CodeUnavailable, "this manager does not lead the cluster now; run the same command " +
				"again"})
		})
	})
}

func (a Area) wrapped(with func(h *handler, near http.Handler) http.Handler) Area {
	all := Area{}
	for pattern, route := range a {
		serve := route.serve
		route.serve = func(h *handler) http.Handler { return with(h, serve(h)) }
		all[pattern] = route
	}
	return all
}

// relay serves a call here or elsewhere.
func (h *handler) relay(far Far, near http.Handler, w http.ResponseWriter, r *http.Request) {
	call, err := hold(r)
	if err != nil {
		h.refuse(w, r, unreadable(err))
		return
	}
	for until := time.Now().Add(patience); ; {
		pass, known := far()
		late := !time.Now().Before(until)
		switch {
		case known && pass == nil, !known && (late || r.Method == http.MethodGet):
			near.ServeHTTP(w, call.next())
			return
		case known:
			there, done := h.recorded(call.next())
			note(there, slog.Bool("passed-on", true))
			err := pass(w, there)
			if err == nil {
				done(nil)
				return
			}
			if late || !errors.Is(err, errAgain) || !call.whole() {
				done(err)
				h.refuse(w, r, err)
				return
			}
		}
		if clock.Sleep(r.Context(), pause) != nil {
			return
		}
	}
}

// held is a call that can be made again.
type held struct {
	r    *http.Request
	body []byte // nil: it is read as it comes
	read atomic.Bool
}

func hold(r *http.Request) (*held, error) {
	c := &held{r: r}
	if r.ContentLength < 0 || r.ContentLength > maxHeld {
		return c, nil
	}
	c.body = make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, c.body)
	return c, err
}

// next returns the call, to be made once.
func (c *held) next() *http.Request {
	r := c.r.Clone(c.r.Context())
	if c.body != nil {
		r.Body = io.NopCloser(bytes.NewReader(c.body))
	} else {
		r.Body = reading{c}
	}
	return r
}

// whole reports whether the call can be made once more.
func (c *held) whole() bool { return c.body != nil || !c.read.Load() }

// reading is the body of a call that is read as it comes. It is open until the call is answered.
type reading struct{ *held }

func (b reading) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.r.Body.Read(p)
}

func (reading) Close() error { return nil }

// errAgain is wrapped by the error of a Pass after which the call may be made again.
var errAgain = errors.New("try again")

// notMade is the error of a call that was not made.
type notMade struct{ why *Error }

func (e notMade) Error() string   { return e.why.Error() }
func (e notMade) Unwrap() []error { return []error{e.why, errAgain} }

// Relay returns what passes calls on to the API of another node at a URL, named for people.
func Relay(transport http.RoundTripper, to *url.URL, name string) Pass {
	return func(w http.ResponseWriter, r *http.Request) (failed error) {
		var made atomic.Bool // a connection was there, and the call may have been made
		trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { made.Store(true) }}
		proxy := &httputil.ReverseProxy{
			Transport:     transport,
			FlushInterval: -1,                         // events are on their way at once
			ErrorLog:      log.New(io.Discard, "", 0), // the caller hears of it
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(to)
				r.Out.Header.Set(userHeader, PeerUser(r.In.Context()))
			},
			ModifyResponse: func(resp *http.Response) error {
				switch {
				case resp.StatusCode == http.StatusForbidden:
					return &Error{CodeNotManager, fmt.Sprintf("the manager %s does not take this node for a manager, "+
						"as after a demotion; run the command there", name)}
				case resp.Header.Get(movedHeader) != "":
					return notMade{&Error{CodeUnavailable, fmt.Sprintf("the manager %s does not lead the cluster now; "+
						"run the same command again", name)}}
				}
				return nil
			},
			ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
				if failed = err; errors.As(err, new(*Error)) {
					return
				}
				away := &Error{CodeUnavailable, fmt.Sprintf("the manager %s has to answer this, and does not: %s; "+
					"start crawlbox there, or see `crawlbox nodes`", name, err)}
				if failed = away; !made.Load() || r.Method == http.MethodGet {
					failed = notMade{away}
				}
			},
		}
		proxy.ServeHTTP(w, r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
		return failed
	}
}

// relayKey finds in a context who made a call on another node.
type relayKey struct{}

type relayed struct {
	user string
	node string // its name, for people
	id   string // of its certificate
}

// Passed serves calls that other nodes pass on. of returns the name of the node which sends a request, empty where
// that is not known, and the ID of its certificate.
func Passed(next http.Handler, of func(*http.Request) (name, id string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := relayed{user: r.Header.Get(userHeader)}
		from.node, from.id = of(r)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), relayKey{}, from)))
	})
}
