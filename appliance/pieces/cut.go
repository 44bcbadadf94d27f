package pieces

import (
	"context"
	"errors"
	"log/slog"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
)

// cutQueue is how many pushed blobs wait to be cut. What finds no place is cut when a
// node asks for it first, as everything is after a start.
const cutQueue = 256

// Cutter makes the tables of pieces of what is pushed, one after the other, so that
// the first node that asks does not wait for a large blob to be read.
type Cutter struct {
	pieces *exchange.Exchange
	pushed chan digest.Digest
	log    *slog.Logger
}

func NewCutter(pieces *exchange.Exchange, log *slog.Logger) *Cutter {
	return &Cutter{pieces, make(chan digest.Digest, cutQueue), log}
}

// Add takes note of a blob. It does not wait.
func (c *Cutter) Add(d digest.Digest) {
	select {
	case c.pushed <- d:
	default:
	}
}

// Run cuts until ctx ends. It leaves a blob that is read then to itself: it may take
// longer than there is time to stop.
func (c *Cutter) Run(ctx context.Context) error {
	for {
		select {
		case d := <-c.pushed:
			if !c.cut(ctx, d) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// cut reports whether a blob was cut before ctx ended.
func (c *Cutter) cut(ctx context.Context, d digest.Digest) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := c.pieces.Table(d); err != nil && !errors.Is(err, exchange.ErrUnknown) { // or too small
			c.log.Debug("cannot cut a pushed blob", "digest", d, "error", err)
		}
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
