package peaks

import (
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	// keptFor is how long what a task took is known after its end: a run goes on when a task of it has failed.
	keptFor = 7 * 24 * time.Hour
	// keptOfService and keptOfAll are how many tasks are known that have ended. One that ends again and again must not
	// be at the cost of others.
	keptOfService = 256
	keptOfAll     = 4096
)

// ended are tasks that have ended, of each service the oldest first. Its zero value is ready.
type ended struct {
	of    map[string][]gone // by service
	count int
}

// gone is a task that has ended.
type gone struct {
	task string
	at   time.Time
	peak fleet.Peak
}

func (e *ended) add(u *use, now time.Time) {
	if e.of == nil {
		e.of = map[string][]gone{}
	}
	e.of[u.service] = append(e.of[u.service], gone{u.task, now, u.peak()})
	if e.count++; len(e.of[u.service]) > keptOfService {
		e.drop(u.service)
	}
	if e.count > keptOfAll {
		e.drop(e.oldest())
	}
}

// drop drops the oldest of a service.
func (e *ended) drop(service string) {
	e.count--
	if e.of[service] = e.of[service][1:]; len(e.of[service]) == 0 {
		delete(e.of, service)
	}
}

// oldest returns the service with the oldest of all.
func (e *ended) oldest() (service string) {
	var at time.Time
	for name, list := range e.of {
		if at.IsZero() || list[0].at.Before(at) {
			service, at = name, list[0].at
		}
	}
	return service
}

// forget drops those that ended too long ago.
func (e *ended) forget(now time.Time) {
	for service, list := range e.of {
		for range list {
			if now.Sub(e.of[service][0].at) <= keptFor {
				break
			}
			e.drop(service)
		}
	}
}

func (e *ended) each(fn func(task string, p fleet.Peak)) {
	for _, list := range e.of {
		for _, g := range list {
			fn(g.task, g.peak)
		}
	}
}
