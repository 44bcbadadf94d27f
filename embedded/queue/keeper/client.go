package keeper

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/front"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// client is one client of a front. Its front alone uses it.
type client struct {
	keeper *Keeper
	client net.Conn
	since  time.Time // it was accepted
	conn   string
	me     lease.Holder // valid when holder is not nil
	holder *holder
	own    bool // the holder is the connection

	// Of the transaction under way, or the last one.
	queuedAt time.Time // when it began to pop; zero: it has ended
	returned string    // stamp of pops that were given back
}

// Enter implements [front.Rewriter].
func (k *Keeper) Enter(conn net.Conn, accepted time.Time) front.Rewriting {
	name := k.run + "-" + strconv.FormatUint(k.conns.Add(1), 36)
	return &client{keeper: k, client: conn, since: accepted, conn: name}
}

// Failed implements [front.Rewriting]. What the client's container forgets it may have popped by another connection.
func (c *client) Failed() {
	h, k := c.holder, c.keeper
	if h == nil && k.opts.Containers != nil && k.holding() {
		ctx, cancel := context.WithTimeout(context.Background(), whoTimeout)
		defer cancel()
		if is, err := k.opts.Containers.Who(ctx, c.client, c.since); err == nil {
			h = k.known(is.ID)
		}
	}
	if h != nil {
		k.giveBackLast(h)
	}
}

// Leave implements [front.Rewriting].
func (c *client) Leave() {
	if !c.own {
		return
	}
	c.keeper.background(func(ctx context.Context) {
		c.keeper.settle(ctx, c.holder, lease.Back)
		c.keeper.mu.Lock()
		defer c.keeper.mu.Unlock()
		delete(c.keeper.alive, c.holder.id)
	})
}

// identify learns who the client is.
func (c *client) identify(ctx context.Context) {
	from := c.client.RemoteAddr().String()
	about := lease.About{Node: c.keeper.opts.Node, Name: from, Since: time.Now().Unix()}
	if known := c.keeper.opts.Containers; known != nil {
		ctx, cancel := context.WithTimeout(ctx, whoTimeout)
		defer cancel()
		switch is, err := known.Who(ctx, c.client, c.since); {
		case err != nil:
			c.keeper.log.Warn("failed to learn which container a client is in; its items go back with its connection",
				"client", from, "error", err)
		case is.ID != "":
			about.Name = is.Name
			c.me, c.holder = lease.NewHolder(is.ID, c.conn, about), c.keeper.container(is.ID)
			return
		}
	}
	c.own, about.From = true, otherMachine(c.client)
	c.me, c.holder = lease.NewHolder(connPrefix+c.conn, c.conn, about), c.keeper.newHolder(connPrefix+c.conn)
	c.keeper.mu.Lock()
	defer c.keeper.mu.Unlock()
	c.keeper.alive[c.holder.id] = struct{}{}
}

// otherMachine returns the address of the machine that a connection comes from, empty where it comes from this one.
func otherMachine(conn net.Conn) string {
	remote, err1 := netip.ParseAddrPort(conn.RemoteAddr().String())
	local, err2 := netip.ParseAddrPort(conn.LocalAddr().String())
	if err1 != nil || err2 != nil || remote.Addr().Unmap() == local.Addr().Unmap() {
		return ""
	}
	return remote.Addr().Unmap().String()
}

// rewrite says what a command becomes at a time, with the name that the holder has now.
func (c *client) rewrite(cmd front.Command, at time.Time) *lease.Pop {
	if c.holder != nil {
		c.me.ID = c.holder.name(cmd.DB)
	}
	return c.keeper.opts.Rules.Rewrite(cmd.Args, cmd.Multi, cmd.Proto == 3, c.me, at)
}

// Rewrite implements [front.Rewriting].
func (c *client) Rewrite(cmd front.Command) front.Instead {
	p := c.rewrite(cmd, time.Now())
	if p == nil {
		return front.Instead{}
	}
	if c.holder == nil {
		c.identify(context.Background())
		p = c.rewrite(cmd, time.Now())
	}
	if cmd.Multi {
		return c.queue(cmd)
	}
	if cmd.Plain {
		return front.Instead{Args: p.Plain()}
	}
	w := work{client: c, cmd: cmd, pop: p, times: 1}
	if w.pop.Single && w.pop.Linger == 0 {
		w.times = cmd.Times
	}
	return front.Instead{Args: p.Args, Serve: w.serve, Times: w.times, Undelivered: w.lost}
}

// queue returns what a pop of a transaction becomes. All of one transaction have the same stamp:
// they count as one pop, and are given back together.
func (c *client) queue(cmd front.Command) front.Instead {
	if cmd.First || c.queuedAt.IsZero() { // the one before may have been discarded
		_ = c.admitted(context.Background()) // a transaction can't be refused here
		c.queuedAt = time.Now()
	}
	p := c.rewrite(cmd, c.queuedAt)
	return front.Instead{
		Args: p.Args,
		Queued: func(reply []byte) []byte {
			c.queuedAt = time.Time{}
			if nothing(reply) {
				return []byte(p.Nothing)
			}
			c.holder.took(cmd.DB)
			return reply
		},
		Undelivered: func() {
			c.queuedAt = time.Time{}
			if c.returned != p.Stamp {
				c.returned = p.Stamp
				c.keeper.giveBack(c.holder, cmd.DB, p.Stamp)
			}
		},
	}
}

// admitted waits until everything is back that has to be before the client may pop.
func (c *client) admitted(ctx context.Context) error {
	doubts := c.holder.doubts()
	select {
	case <-c.keeper.ready:
		if doubts == nil {
			return nil
		}
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, whoTimeout)
	defer cancel()
	for _, until := range []<-chan struct{}{c.keeper.ready, doubts} {
		if until == nil {
			continue
		}
		select {
		case <-until:
		case <-ctx.Done():
			return errNotReady
		}
	}
	return nil
}

// work is a pop that is being done.
type work struct {
	*client
	cmd   front.Command
	pop   *lease.Pop
	times int

	leaving bool // its holder got nothing since it is about to be ended
}

func (w *work) lost() { w.keeper.giveBack(w.holder, w.cmd.DB, w.pop.Stamp) }

func (w *work) serve(ctx context.Context, do front.Do) ([]byte, error) {
	reply, err := w.ask(ctx, do, func() []string {
		if w.times > 1 {
			return w.pop.Times(w.times)
		}
		return w.pop.Args
	})
	switch {
	case err != nil:
		return nil, err
	case w.times > 1:
		return w.split(reply), nil
	case !nothing(reply):
		return reply, nil
	}
	w.asked(ctx)
	switch {
	case w.pop.Blocks:
		wait := w.pop.Timeout
		if wait == 0 {
			wait = math.MaxInt64
		}
		return w.wait(ctx, do, wait, false)
	case w.pop.Linger > 0 && w.keeper.others(ctx, w.cmd.DB, w.pop.Leased, w.holder.id):
		return w.wait(ctx, do, w.pop.Linger, true)
	}
	return []byte(w.pop.Nothing), nil
}

// asked says that the holder has asked for an item and there was none. One that works at a single item is done with
// the last by then, so that who waits holds nothing.
func (w *work) asked(ctx context.Context) {
	k := w.keeper
	if k.opts.Rules.Window > 1 || !w.holder.dropped(w.cmd.DB) {
		return
	}
	if !w.holder.giving.TryLock() { // something goes back
		w.holder.took(w.cmd.DB)
		return
	}
	defer w.holder.giving.Unlock()
	if _, err := k.opts.Rules.Settle(ctx, k.do(w.cmd.DB), w.holder.name(w.cmd.DB), lease.Done); err != nil {
		w.holder.took(w.cmd.DB) // it is done with its next pop
	}
}

// ask has the engine pop. When the reply is lost, or nobody is there any more to have it, the
// items go back.
func (w *work) ask(ctx context.Context, do front.Do, made func() []string) ([]byte, error) {
	if err := w.admitted(ctx); err != nil {
		return nil, err
	}
	if w.me.ID != w.holder.name(w.cmd.DB) {
		w.pop = w.rewrite(w.cmd, time.Now())
	}
	if w.leaving = w.leaves(ctx); w.leaving {
		return []byte(null), nil
	}
	args := made()
	reply, err := do(ctx, args...)
	if err == nil && bytes.HasPrefix(reply, []byte("-NOSCRIPT")) {
		reply, err = do(ctx, w.pop.Eval(args)...)
	}
	if w.leaving = err == nil && bytes.HasPrefix(reply, []byte("-"+script.ErrLeaving)); w.leaving {
		reply = []byte(null)
	}
	if err == nil && !nothing(reply) && (ctx.Err() != nil || w.holder.gone()) {
		err = errors.New("LOADING the consumer has ended")
	}
	if w.leaving = w.leaving || err == nil && !nothing(reply) && w.leaves(ctx); w.leaving && !nothing(reply) {
		w.lost()
		return []byte(null), nil
	}
	if err != nil {
		w.lost()
		return nil, err
	}
	if !nothing(reply) {
		w.holder.took(w.cmd.DB)
	}
	return reply, nil
}

// leaves reports whether the holder is about to be ended, which the script of the pop does not see in this database: so
// it is looked before, that nothing goes to and fro, and after, when it can be seen that the holder has an item.
func (w *work) leaves(ctx context.Context) bool {
	first := w.keeper.firstDB()
	if w.own || w.cmd.DB == first {
		return false
	}
	is, err := lease.Leaves(ctx, w.keeper.do(first), w.holder.id)
	return is || err != nil
}

const null = "$-1\r\n"

func nothing(reply []byte) bool { return string(reply) == null || string(reply) == "_\r\n" }

// split makes the reply to several pops one reply for each.
func (w *work) split(reply []byte) []byte {
	var out []byte
	n := 0
	if !nothing(reply) {
		head, rest, ok := bytes.Cut(reply, []byte("\r\n"))
		if !ok || head[0] != '*' {
			return bytes.Repeat(reply, w.times) // an error
		}
		n, _ = strconv.Atoi(string(head[1:]))
		out = rest
	}
	for range w.times - n {
		out = append(out, w.pop.Nothing...)
	}
	return out
}

// Pauses between two looks while a client waits: the engine may have no notifications.
const (
	leastLook   = 20 * time.Millisecond
	longestLook = 500 * time.Millisecond
)

// wait tries in its turn, and when it is woken, until there is something, time is up or the client has left; a
// lingering one also ends when nobody holds anything.
func (w *work) wait(ctx context.Context, do front.Do, d time.Duration, lingering bool) ([]byte, error) {
	until := time.NewTimer(d)
	defer until.Stop()
	bell := w.keeper.bells.enter(ctx, w.cmd.DB, w.pop.Keys)
	defer bell.leave()
	for pause, rung := leastLook, false; ; pause = min(2*pause, longestLook) {
		bell.asking()
		alone := lingering && !w.keeper.others(ctx, w.cmd.DB, w.pop.Leased, w.holder.id)
		if alone || rung || w.leaving || bell.turn() {
			reply, err := w.ask(ctx, do, func() []string { return w.pop.Again() })
			switch {
			case err != nil:
				return nil, err
			case !nothing(reply):
				return reply, nil
			case alone:
				return []byte(w.pop.Nothing), nil
			}
		}
		bell.asked(w.leaving)
		look := time.NewTimer(pause)
		rung = false
		select {
		case <-bell.rings:
			rung = true
		case <-look.C:
		case <-until.C:
			look.Stop()
			return []byte(w.pop.Nothing), nil
		case <-ctx.Done():
			look.Stop()
			return nil, ctx.Err()
		}
		look.Stop()
	}
}
