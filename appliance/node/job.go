package node

import (
	"context"
	"sync"

	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/deploy"
)

// job is a change of a service to its definition in the config file, while it is
// under way. Whoever asks for the same meanwhile follows it.
type job struct {
	hash string // of the definition
	done chan struct{}
	gone func() // takes it from those under way

	mu    sync.Mutex
	step  string
	last  deploy.Progress
	heard bool
	seers []deploy.Emit

	sum deploy.Summary // once done is closed
	err error
}

// Begin makes a job for a service, unless there is one.
func (r *reconciler) Begin(service, hash string) (j control.Job, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j, there := r.jobs[service]; there {
		return j, false
	}
	made := &job{hash: hash, done: make(chan struct{}), gone: func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.jobs, service)
	}}
	r.jobs[service] = made
	return made, true
}

// End is called once by who began the job.
func (j *job) End(sum deploy.Summary, err error) {
	j.gone()
	j.sum, j.err = sum, err
	close(j.done)
}

// Hash is that of the definition which the service is brought to.
func (j *job) Hash() string { return j.hash }

// Emit tells all who follow.
func (j *job) Emit(step string, p deploy.Progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.step, j.last, j.heard = step, p, true
	for _, see := range j.seers {
		see(step, p)
	}
}

// Follow lets see hear of the job until it is done, or ctx.
func (j *job) Follow(ctx context.Context, see deploy.Emit) (deploy.Summary, error) {
	j.mu.Lock()
	own := true // until this returns
	j.seers = append(j.seers, func(step string, p deploy.Progress) {
		if own {
			see(step, p)
		}
	})
	if j.heard {
		see(j.step, j.last)
	}
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		own = false
	}()
	select {
	case <-ctx.Done():
		return deploy.Summary{}, ctx.Err()
	case <-j.done:
		return j.sum, j.err
	}
}
