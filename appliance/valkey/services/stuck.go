package services

import (
	"context"
	"fmt"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/valkey"
)

const (
	// unplaced is how long Swarm may have no node for an engine though its node could have it. After a restart it waits
	// for a second; a task that lost its only node it may forget (fleet.Task.Forgotten).
	unplaced = 30 * time.Second
	// starting is how long a task may take from there until it runs: its image may have to be brought to the node.
	starting = 10 * time.Minute
)

// wait is what an engine waits for.
type wait struct {
	what  string // the same as long as nothing happens
	since time.Time
}

// startStuck has Swarm start engines again that it leaves lying though their nodes could run them. No person can: the
// services are the cluster's own.
func (c *Cluster) startStuck(ctx context.Context, engines []valkey.Engine) error {
	for _, e := range engines {
		name := e.Service()
		if !c.ready[e.Node] {
			delete(c.waits, name)
			continue
		}
		tasks, err := c.engine.Tasks(ctx, name)
		if err != nil {
			return fmt.Errorf("look at %s: %w", name, err)
		}
		what, patience := waitsFor(tasks)
		switch is := c.waits[name]; {
		case what == "":
			delete(c.waits, name)
		case is.what != what:
			c.waits[name] = wait{what, time.Now()}
		case time.Since(is.since) >= patience:
			c.log.Warn("Swarm does not start a part of the queue; it is told to", "service", name, "node", e.Name,
				"waits", what)
			delete(c.waits, name)
			if err := c.engine.StartAgain(ctx, name); err != nil {
				return fmt.Errorf("start %s again: %w", name, err)
			}
		}
	}
	return nil
}

// waitsFor returns what an engine with some tasks waits for, and how long it may; "": it runs.
func waitsFor(tasks []fleet.Task) (what string, patience time.Duration) {
	var newest fleet.Task
	for _, t := range tasks {
		live := t.Desired == fleet.TaskRunning || t.Desired == fleet.TaskReady
		if live && !t.Created.Before(newest.Created) {
			newest = t
		}
	}
	what = newest.ID + " " + newest.State
	switch {
	case newest.ID == "":
		return "a task", unplaced
	case newest.State == fleet.TaskRunning:
		return "", 0
	case newest.NodeID == "" || newest.Ended():
		return what, unplaced
	}
	return what, starting
}
