package node

import (
	"context"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lifecycle"
)

// settled runs what tasks do not need, once the node has settled: at once, but
// where many nodes join at the same moment, and then the node is ready without it.
func (w *Worker) settled(parts func() []lifecycle.Part) lifecycle.Component {
	return lifecycle.Func(func(ctx context.Context, ready func()) error {
		if wait := w.identity.StartDelay; wait > 0 {
			ready()
			ready = nil
			w.log.Debug("many nodes join now; gossip begins later", "after", wait)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil
			}
		}
		w.learnSwarmID(ctx)
		if err := w.gossip.Update(w.self()); err != nil {
			w.log.Warn("tell the others about this node", "error", err)
		}
		return lifecycle.Run(ctx, w.log, ready, parts()...)
	})
}
