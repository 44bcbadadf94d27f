package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/caught"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Stream is a Call that takes a while: its answer is how far it is, one Line every now and
// then, and last how it ended.
type Stream[Req, Progress, Line any] struct {
	Route      string
	MaxRequest int64          // bytes
	MaxLine    int            // bytes
	Valid      func(Req) bool // nil: all that can be read
	Invalid    string         // what the caller is told of a request that is not valid

	Every time.Duration // between two lines, also where nothing moved
	Quiet time.Duration // without a line after which the caller gives up, by clock.Silence

	Pack   func(p Progress, done bool, err error) Line
	Unpack func(Line) (p Progress, done bool, err error) // done also with an error
}

// Handler returns the answering end. work may call see at any time, until it returns; where it
// panics, its error is caught.ErrInternal.
func (s Stream[Req, Progress, Line]) Handler(
	log *slog.Logger, work func(ctx context.Context, from Peer, req Req, see func(Progress)) error,
) Handler {
	return streamHandler[Req, Progress, Line]{s, func(ctx context.Context, p Peer, req Req, see func(Progress)) error {
		return caught.Run(log, s.Route, func() error { return work(ctx, p, req, see) })
	}}
}

type streamHandler[Req, Progress, Line any] struct {
	stream Stream[Req, Progress, Line]
	work   func(context.Context, Peer, Req, func(Progress)) error
}

func (h streamHandler[Req, Progress, Line]) Route() string { return h.stream.Route }

func (h streamHandler[Req, Progress, Line]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, ok := read(r, h.stream.MaxRequest, h.stream.Valid)
	if !ok {
		http.Error(w, h.stream.Invalid, http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var mu sync.Mutex
	var now Progress
	ended := make(chan error, 1)
	go func() {
		ended <- h.work(ctx, peerOf(r), req, func(p Progress) {
			mu.Lock()
			defer mu.Unlock()
			now = p
		})
	}()
	say := func(done bool, err error) bool {
		mu.Lock()
		line := h.stream.Pack(now, done, err)
		mu.Unlock()
		return json.NewEncoder(w).Encode(line) == nil && http.NewResponseController(w).Flush() == nil
	}
	tick := time.NewTicker(h.stream.Every)
	defer tick.Stop()
	for say(false, nil) {
		select {
		case <-tick.C:
		case err := <-ended:
			say(true, err)
			return
		}
	}
}

// Do has the crawlbox on a node do it, which may be this one.
func (s Stream[Req, Progress, Line]) Do(
	ctx context.Context, p *Peers, n fleet.Node, req Req, see func(Progress),
) error {
	if p.IsSelf(n) {
		h, err := own[streamHandler[Req, Progress, Line]](p, s.Route, s.Valid == nil || s.Valid(req), s.Invalid)
		if err != nil {
			return err
		}
		return h.work(ctx, Peer{}, req, see)
	}
	to, err := p.target(n)
	if err != nil {
		return err
	}
	return s.Ask(ctx, to, req, see)
}

// Ask has another node do it. The error wraps deploy.ErrUnanswered where it did not come to an
// answer.
func (s Stream[Req, Progress, Line]) Ask(ctx context.Context, to Target, req Req, see func(Progress)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := clock.NewSilence(s.Quiet, func() { cancel(fmt.Errorf("no word from it for %s", s.Quiet)) })
	defer quiet.Stop()
	body, err := to.send(ctx, s.Route, req)
	if err != nil {
		return fmt.Errorf("ask the crawlbox there: %w", err)
	}
	defer body.Close()
	lines := bound.NewStream(body, s.MaxLine)
	if err = s.read(lines, func(p Progress) { quiet.Heard(); see(p) }); errors.Is(err, errSilent) && ctx.Err() != nil {
		err = unanswered(fmt.Errorf("%w: %w", errSilent, context.Cause(ctx)))
	}
	return err
}

// errSilent is of an answer that ends before it is over.
var errSilent = errors.New("the node went silent")

func (s Stream[Req, Progress, Line]) read(lines *bound.Stream, see func(Progress)) error {
	for {
		var line Line
		if err := lines.Next(&line); err != nil {
			return unanswered(fmt.Errorf("%w: %w", errSilent, err))
		}
		p, done, err := s.Unpack(line)
		see(p)
		if done || err != nil {
			return err
		}
	}
}
