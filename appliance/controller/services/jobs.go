package services

import (
	"context"
	"sync"

	"github.com/crawlbox/crawlbox/appliance/deploy"
)

// jobs holds the changes of services to their definitions that are under way.
type jobs struct {
	mu        sync.Mutex
	byService map[string]*job
}

// job is one such change. A request for the same meanwhile follows it.
type job struct {
	hash string // of the definition
	done chan struct{}

	mu    sync.Mutex
	last  *deploy.Progress // nil: nothing was heard yet
	seers []deploy.Emit

	err error // once done is closed
}

// begin makes a job for a service, unless there is one.
func (a *jobs) begin(service, hash string) (j *job, mine bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if j, there := a.byService[service]; there {
		return j, false
	}
	j = &job{hash: hash, done: make(chan struct{})}
	a.byService[service] = j
	return j, true
}

// end is called once, by the caller that began the job.
func (a *jobs) end(service string, j *job, err error) {
	a.mu.Lock()
	delete(a.byService, service)
	a.mu.Unlock()
	j.err = err
	close(j.done)
}

// emit tells all followers.
func (j *job) emit(p deploy.Progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last = &p
	for _, see := range j.seers {
		see(p)
	}
}

// follow lets see hear of the job until it is done, or ctx.
func (j *job) follow(ctx context.Context, see deploy.Emit) error {
	j.mu.Lock()
	own := true // until this returns
	j.seers = append(j.seers, func(p deploy.Progress) {
		if own {
			see(p)
		}
	})
	if j.last != nil {
		see(*j.last)
	}
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		own = false
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-j.done:
		return j.err
	}
}
