package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/crawlbox/crawlbox/appliance/base/caught"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
)

// maxPrograms bounds the programs that run on one node by calls of managers.
const maxPrograms = 64

// executing answers with the connection to a program that it starts in a task's container, which is
// no Call: it goes both ways. An error before that is one line and a status.
type executing struct {
	engine Engine
	places chan struct{}
	log    *slog.Logger
}

func newExecuting(e Engine, log *slog.Logger) executing {
	return executing{e, make(chan struct{}, maxPrograms), log}
}

// Route implements Handler.
func (executing) Route() string { return routeExecute }

func (x executing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, ok := read(r, taskexec.MaxRequest, taskexec.Request.Valid)
	if !ok {
		http.Error(w, "not a program to run in a task", http.StatusBadRequest)
		return
	}
	p, leave, err := x.start(r.Context(), req)
	if err != nil {
		status := http.StatusConflict // with what is asked for
		switch {
		case errors.Is(err, swarm.ErrNotFound):
			status = http.StatusNotFound
		case errors.Is(err, errPrograms):
			status = http.StatusTooManyRequests
		}
		http.Error(w, err.Error(), status)
		return
	}
	defer leave()
	conn, err := taskexec.Accept(w, r)
	if err != nil {
		p.Close()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	taskexec.Serve(r.Context(), conn, p)
}

var errPrograms = fmt.Errorf("%d programs run already; end some", maxPrograms)

// start starts a program, if there is a place for it until leave is called.
func (x executing) start(ctx context.Context, r taskexec.Request) (p taskexec.Process, leave func(), err error) {
	select {
	case x.places <- struct{}{}:
	default:
		return nil, nil, errPrograms
	}
	leave = func() { <-x.places }
	if p, err = x.engine.Exec(ctx, r); err != nil {
		leave()
		return nil, nil, err
	}
	return p, leave, nil
}

// Execute runs a program in a task's container on a node, and returns the connection to it.
func (p *Peers) Execute(ctx context.Context, n fleet.Node, r taskexec.Request) (io.ReadWriteCloser, error) {
	if p.IsSelf(n) {
		h, err := own[executing](p, routeExecute, r.Valid(), "not a program to run in a task")
		if err != nil {
			return nil, err
		}
		process, leave, err := h.start(ctx, r)
		if err != nil {
			return nil, err
		}
		near, far := net.Pipe()
		go func() {
			defer leave()
			_ = caught.Run(h.log, routeExecute, func() error {
				taskexec.Serve(ctx, far, process)
				return nil
			})
		}()
		return near, nil
	}
	to, err := p.target(n)
	if err != nil {
		return nil, err
	}
	conn, err := to.upgrade(ctx, routeExecute, r)
	if err != nil {
		return nil, fmt.Errorf("on %s: %w", n.Display, err)
	}
	return conn, nil
}
