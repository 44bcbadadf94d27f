package sockowner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

const (
	// proverPace is the least time from one look into the processes to the next, and
	// proverBatch for how many connections one look is.
	proverPace  = 20 * time.Millisecond
	proverBatch = 512
	// proverQueue bounds the connections that wait for a look.
	proverQueue = 8192
	// proverFresh is how long the processes are taken for the same as long as they
	// live.
	proverFresh = time.Second
	// proverTimeout bounds the question which the processes are.
	proverTimeout = 5 * time.Second
)

// ErrBusy is returned by Prover where too many wait already.
var ErrBusy = errors.New("too many connections are looked into at a time")

// Prover says of connections whether one of some processes has them. Anybody may ask
// it as often as they like: all that ask at a time are answered by one look into the
// processes, looks have a pace, and those who ask first are answered first, so that
// nobody is kept out by others who ask without end.
//
// A look begins after the question, so it finds the socket of whoever waits for the
// answer. It is safe for concurrent use.
type Prover struct {
	who  func(context.Context) (pids []int, err error)
	look func(pids []int, conns []connection) []verdict

	mu      sync.Mutex
	waiting []*question
	running bool
	last    time.Time // when the last look ended
	known   holders   // used by the goroutine of run only
}

// NewProver makes a prover for the processes that who names, and for those of its error
// where it names some but not all. It is asked once a second at the most, as long as
// those it named live.
func NewProver(who func(context.Context) (pids []int, err error)) *Prover {
	return &Prover{who: who, look: findOwners}
}

// connection is one by its ends, as in Holder.
type connection struct{ local, remote netip.AddrPort }

type verdict struct {
	holds bool
	err   error
}

type question struct {
	ctx context.Context
	connection
	verdict chan verdict // takes one
}

// Holds reports whether any of the processes has the socket of Holder open. The error is
// that of ctx, ErrBusy, ErrNoSocket, what keeps it from looking, or, where none of the
// processes that are known has the connection, why others are not known.
func (p *Prover) Holds(ctx context.Context, local, remote netip.AddrPort) (bool, error) {
	q := &question{ctx, connection{local, remote}, make(chan verdict, 1)}
	if !p.enter(q) {
		return false, ErrBusy
	}
	select {
	case v := <-q.verdict:
		return v.holds, v.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (p *Prover) enter(q *question) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) >= proverQueue {
		return false
	}
	p.waiting = append(p.waiting, q)
	if !p.running {
		p.running = true
		go p.run()
	}
	return true
}

// run answers until nobody waits.
func (p *Prover) run() {
	for {
		time.Sleep(time.Until(p.last.Add(proverPace)))
		batch := p.take()
		if len(batch) == 0 {
			return
		}
		p.answer(batch)
		p.last = time.Now()
	}
}

// take returns those who are to be answered next. Where there are none, the next who
// asks starts run again.
func (p *Prover) take() (batch []*question) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for ; n < len(p.waiting) && len(batch) < proverBatch; n++ {
		if q := p.waiting[n]; q.ctx.Err() == nil {
			batch = append(batch, q)
		}
	}
	p.waiting = append([]*question(nil), p.waiting[n:]...)
	p.running = len(batch) > 0
	return batch
}

func (p *Prover) answer(batch []*question) {
	conns := make([]connection, len(batch))
	for i, q := range batch {
		conns[i] = q.connection
	}
	pids, whoErr := p.known.pids(p.who)
	for i, v := range p.look(pids, conns) {
		if !v.holds && v.err == nil {
			v.err = whoErr
		}
		batch[i].verdict <- v
	}
}

// findOwners looks for connections among the files of processes.
func findOwners(pids []int, conns []connection) []verdict {
	verdicts := make([]verdict, len(conns))
	var sockets []socket
	var of []int // the connection of each
	for i, c := range conns {
		s, err := findSocket(c.local, c.remote)
		if err != nil {
			verdicts[i].err = fmt.Errorf("find the socket of %s to %s: %w", c.local, c.remote, err)
			continue
		}
		sockets, of = append(sockets, s), append(of, i)
	}
	if len(sockets) == 0 {
		return verdicts
	}
	for _, pid := range pids {
		open, err := opened(pid, sockets)
		for k, i := range of {
			verdicts[i].holds = verdicts[i].holds || open[k]
			if err != nil && !errors.Is(err, errGone) {
				verdicts[i].err = fmt.Errorf("look into the open files of process %d: %w", pid, err)
			}
		}
	}
	for i := range verdicts {
		if verdicts[i].holds {
			verdicts[i].err = nil
		}
	}
	return verdicts
}

// holders holds the processes as they were named last.
type holders struct {
	named []process
	at    time.Time
}

// process is one that lives or has lived: its number may be given to another.
type process struct {
	pid   int
	begun string
}

// pids returns the processes, and asks for them where they may be others.
func (h *holders) pids(who func(context.Context) ([]int, error)) (pids []int, err error) {
	if time.Since(h.at) < proverFresh && h.live() {
		for _, p := range h.named {
			pids = append(pids, p.pid)
		}
		return pids, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), proverTimeout)
	defer cancel()
	pids, err = who(ctx)
	h.named, h.at = nil, time.Time{}
	if err != nil {
		return pids, err
	}
	for _, pid := range pids {
		h.named = append(h.named, process{pid, begun(pid)})
	}
	h.at = time.Now()
	return pids, nil
}

func (h *holders) live() bool {
	for _, p := range h.named {
		if p.begun == "" || begun(p.pid) != p.begun {
			return false
		}
	}
	return true
}
