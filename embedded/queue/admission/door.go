package admission

import (
	"context"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

const acceptPause = 100 * time.Millisecond // after a failed accept, such as too many open files

// Door accepts clients.
type Door struct {
	Open atomic.Int64 // connected clients

	most      int
	log       *slog.Logger
	strangers Strangers
}

// NewDoor returns one for the clients that memory, in bytes, is enough for; 0 is no bound. As in Redis there are
// never more than 10,000.
func NewDoor(memory int64, log *slog.Logger) *Door {
	const most, each = 10_000, 64 << 10
	d := &Door{most: most, log: log}
	if memory > 0 {
		d.most = int(min(most, memory/each))
	}
	return d
}

// NewInnerDoor returns one behind another, which bounds the clients.
func NewInnerDoor(log *slog.Logger) *Door { return &Door{most: math.MaxInt, log: log} }

// Most returns how many clients there may be at a time.
func (d *Door) Most() int { return d.most }

// Accept has each client served by a goroutine of group until ctx ends, when listener has to be closed. The client
// calls welcome when it has logged in; before, its context may end so that others get its place.
func (d *Door) Accept(
	ctx context.Context, listener net.Listener, group *sync.WaitGroup,
	serve func(ctx context.Context, client net.Conn, welcome func()),
) {
	for {
		client, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				client.Close()
			}
			return
		}
		if err != nil {
			d.log.Warn("the queue failed to accept a client", "error", err)
			_ = clock.Sleep(ctx, acceptPause)
			continue
		}
		if int(d.Open.Add(1)) > d.most {
			d.Open.Add(-1)
			turnAway(client)
			continue
		}
		ctx, end := context.WithCancel(ctx)
		leave := d.strangers.Enter(end)
		group.Go(func() {
			defer end()
			defer leave()
			defer d.Open.Add(-1)
			serve(ctx, client, func() {
				leave()
				admit(client)
			})
		})
	}
}

// turnAway ends the connection of a client that is one too many.
func turnAway(client net.Conn) {
	_ = client.SetWriteDeadline(time.Now().Add(time.Millisecond))
	_, _ = client.Write([]byte("-ERR max number of clients reached\r\n"))
	client.Close()
}
