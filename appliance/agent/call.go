// Package agent is how the nodes of a cluster ask each other: over mutual TLS, on the port
// between nodes.
//
// A question is one Call (or one Stream, where the answer takes a while), and both of its
// ends are in one file: what goes over the wire, who answers it with what, and the function
// that asks. A caller that asks about its own node gets the answer of the same
// handler without a connection, so no caller has to know which node is this one.
//
// One table, Callers, lists who may ask what. A node is connected to only where the
// cluster's managers know one to be (client.go), and an answer counts only if it comes
// from the certificate that was asked (Target.IDs).
//
// Routes, names of fields and statuses are those of the versions before: nodes of two
// versions work beside each other while a cluster is upgraded.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/caught"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// None is a request or an answer without content. Where a request is None, a body that
// comes all the same is not read.
type None struct{}

// Call is a question that one node asks another.
type Call[Req, Resp any] struct {
	Route      string         // method and path, as in Callers
	MaxRequest int64          // bytes
	MaxAnswer  int64          // bytes
	Timeout    time.Duration  // from question to answer; 0: that of the context
	Valid      func(Req) bool // nil: all that can be read
	Invalid    string         // what the caller is told of a request that is not valid
	Failures   []Failure      // errors that come back as themselves
	Failed     int            // status of other errors; 0: 503
	Succeeded  int            // status where there is an answer; 0: 200
}

// Failure says how an error of a handler goes over the wire: the caller gets Err again.
type Failure struct {
	Err    error
	Status int
	Text   string
}

// Peer is the node that asks.
type Peer struct {
	pki.NodeInfo
	Addr netip.AddrPort // that it asks from; not valid where it asks itself
}

// Handler answers one route of the port between nodes.
type Handler interface {
	http.Handler
	Route() string
}

// Raw returns a handler of a route that is no Call, such as that of images.
func Raw(route string, h http.Handler) Handler { return raw{h, route} }

type raw struct {
	http.Handler
	route string
}

func (r raw) Route() string { return r.route }

// Handler returns the answering end. An answer that panics is caught.ErrInternal.
func (c Call[Req, Resp]) Handler(
	log *slog.Logger, answer func(context.Context, Peer, Req) (Resp, error),
) Handler {
	return handler[Req, Resp]{c, func(ctx context.Context, from Peer, req Req) (resp Resp, err error) {
		err = caught.Run(log, c.Route, func() (err error) {
			resp, err = answer(ctx, from, req)
			return err
		})
		return resp, err
	}}
}

type handler[Req, Resp any] struct {
	call   Call[Req, Resp]
	answer func(context.Context, Peer, Req) (Resp, error)
}

func (h handler[Req, Resp]) Route() string { return h.call.Route }

func (h handler[Req, Resp]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, ok := read(r, h.call.MaxRequest, h.call.Valid)
	if !ok {
		http.Error(w, h.call.Invalid, http.StatusBadRequest)
		return
	}
	resp, err := h.answer(r.Context(), peerOf(r), req)
	if err != nil {
		h.call.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if h.call.Succeeded != 0 {
		w.WriteHeader(h.call.Succeeded)
	}
	if _, none := any(resp).(None); !none {
		_ = json.NewEncoder(w).Encode(resp)
	}
}

func (c Call[Req, Resp]) fail(w http.ResponseWriter, err error) {
	for _, f := range c.Failures {
		if errors.Is(err, f.Err) {
			http.Error(w, f.Text, f.Status)
			return
		}
	}
	var status *StatusError
	switch {
	case errors.As(err, &status):
		http.Error(w, status.Text, status.Code)
	case c.Failed != 0:
		http.Error(w, err.Error(), c.Failed)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// Do asks the crawlbox on a node, which may be this one.
func (c Call[Req, Resp]) Do(ctx context.Context, p *Peers, n fleet.Node, req Req) (resp Resp, err error) {
	if p.IsSelf(n) {
		h, err := own[handler[Req, Resp]](p, c.Route, c.Valid == nil || c.Valid(req), c.Invalid)
		if err != nil {
			return resp, err
		}
		ctx, cancel := within(ctx, c.Timeout)
		defer cancel()
		return h.answer(ctx, Peer{}, req)
	}
	to, err := p.target(n)
	if err != nil {
		return resp, err
	}
	if resp, err = c.Ask(ctx, to, req); err != nil {
		return resp, fmt.Errorf("ask the crawlbox there: %w", err)
	}
	return resp, nil
}

// Answered is the answer of one of several nodes.
type Answered[Resp any] struct {
	Node fleet.Node
	Resp Resp
	Err  error
}

// DoAll asks all nodes of the swarm that are up, at once. The error is that there is no
// list of them.
func (c Call[Req, Resp]) DoAll(ctx context.Context, p *Peers, req Req) ([]Answered[Resp], error) {
	nodes, err := p.swarm.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	answers := make([]Answered[Resp], len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		answers[i].Node = n
		if n.State != fleet.StateReady {
			answers[i].Err = fmt.Errorf("it is %s", n.State)
			continue
		}
		all.Go(func() {
			answers[i].Resp, answers[i].Err = c.Do(ctx, p, n, req)
			if err := answers[i].Err; err != nil {
				p.log.Debug("failed to ask a node", "call", c.Route, "node", n.Display, "error", err)
			}
		})
	}
	all.Wait()
	return answers, nil
}

func (c Call[Req, Resp]) Ask(ctx context.Context, to Target, req Req) (resp Resp, err error) {
	ctx, cancel := within(ctx, c.Timeout)
	defer cancel()
	body, err := to.send(ctx, c.Route, req)
	if err != nil {
		return resp, c.failure(err)
	}
	defer body.Close()
	if _, none := any(resp).(None); none {
		return resp, nil
	}
	if err := bound.JSON(body, c.MaxAnswer, &resp); err != nil {
		return resp, fmt.Errorf("read its answer: %w", err)
	}
	return resp, nil
}

// Any asks one node after the other until one answers. The error is that of the last.
func (c Call[Req, Resp]) Any(ctx context.Context, nodes []Target, req Req) (resp Resp, err error) {
	err = errors.New("no manager is known")
	for _, to := range nodes {
		if resp, err = c.Ask(ctx, to, req); err == nil {
			break
		}
	}
	return resp, err
}

func (c Call[Req, Resp]) failure(err error) error {
	if status, ok := errors.AsType[*StatusError](err); ok {
		for _, f := range c.Failures {
			if status.Code == f.Status && status.Text == f.Text {
				return f.Err
			}
		}
	}
	return err
}

// within bounds a context; the error is then its cause.
func within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
}

func read[Req any](r *http.Request, most int64, valid func(Req) bool) (req Req, ok bool) {
	if _, none := any(req).(None); none {
		return req, true
	}
	if err := bound.JSON(r.Body, most, &req); err != nil {
		return req, false
	}
	return req, valid == nil || valid(req)
}

func peerOf(r *http.Request) Peer {
	info, _ := enroll.PeerFrom(r.Context())
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	return Peer{info, netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
}
