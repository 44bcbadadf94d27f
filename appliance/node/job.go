package node

import (
	"context"
	"sync"

	"github.com/crawlbox/crawlbox/appliance/rollout"
)

// job is a change of a service to its definition in the config file, while it is
// under way. Whoever asks for the same meanwhile follows it.
type job struct {
	hash string // of the definition
	done chan struct{}

	mu    sync.Mutex
	step  string
	last  rollout.Progress
	heard bool
	seers []rollout.Emit

	sum rollout.Summary // once done is closed
	err error
}

// begin makes a job for a service, unless there is one.
func (r *reconciler) begin(service, hash string) (j *job, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j, there := r.jobs[service]; there {
		return j, false
	}
	j = &job{hash: hash, done: make(chan struct{})}
	r.jobs[service] = j
	return j, true
}

// end is called once by who began the job.
func (r *reconciler) end(service string, j *job, sum rollout.Summary, err error) {
	r.mu.Lock()
	delete(r.jobs, service)
	r.mu.Unlock()
	j.sum, j.err = sum, err
	close(j.done)
}

// emit tells all who follow.
func (j *job) emit(step string, p rollout.Progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.step, j.last, j.heard = step, p, true
	for _, see := range j.seers {
		see(step, p)
	}
}

// follow lets see hear of the job until it is done, or ctx.
func (j *job) follow(ctx context.Context, see rollout.Emit) (rollout.Summary, error) {
	j.mu.Lock()
	own := true // until this returns
	j.seers = append(j.seers, func(step string, p rollout.Progress) {
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
		return rollout.Summary{}, ctx.Err()
	case <-j.done:
		return j.sum, j.err
	}
}
