// Package backups keeps sealed backups of the cluster where the loss of its managers does not reach
// them: on other nodes, workers too, and where the operator wants them. Nobody has to ask for one.
//
// Every ten minutes it looks at what there is. Where that is not what the newest copies have, it is
// sealed and brought to three nodes, those first that keep copies already. Which nodes have what is
// asked anew each time, so that nothing has to be remembered.
package backups

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	every = 10 * time.Minute
	// first is how long the first round waits, and the next while few keep a copy: nodes that join in the
	// first minutes get one soon.
	first = 10 * time.Second
	// onNodes is how many nodes keep the newest copy, where there are so many.
	onNodes = 3
)

// Nodes are the other nodes, which keep copies. copies.Nodes are some.
type Nodes interface {
	// List returns what each of them keeps. The error is that there is no list of nodes.
	List(ctx context.Context) ([]backup.Holder, error)
	Keep(ctx context.Context, to fleet.Node, sealed []byte) error
}

// Read returns what there is now, and the cluster's recovery key.
type Read func(context.Context) (backup.Content, backup.Key, error)

// State is what is known of the backups.
type State struct {
	Good   time.Time // when all that there was was in a copy elsewhere last; zero: it was not yet
	Nodes  int       // other nodes
	Have   int       // of these, those with the newest
	Why    string    // the last round failed; empty: it did not
	Places []string  // why places of the config did not get it
}

// Controller is the loop, and what is known of its backups. Its methods may be called at the same
// time.
type Controller struct {
	*controller.Loop
	read   Read
	nodes  Nodes
	places []*place

	round sync.Mutex // one at a time

	mu    sync.Mutex
	state State
}

// New returns the controller. want are the operator's places.
func New(read Read, nodes Nodes, want configs.Backup, log *slog.Logger) *Controller {
	c := &Controller{read: read, nodes: nodes, places: placesOf(want)}
	c.Loop = controller.New("backups", func(ctx context.Context) error {
		err := c.Now(ctx)
		if err != nil {
			log.Debug("failed to back the cluster up", "error", err)
		} else if c.State().Have < onNodes {
			err = errFew
		}
		return err
	})
	c.First, c.Every, c.Retry, c.RetryMost = first, every, first, every
	return c
}

// errFew ends a round after which fewer nodes keep a copy than should.
var errFew = errors.New("few nodes keep a backup")

// State returns what is known of the backups.
func (c *Controller) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// ErrNowhere is returned by Now where there is no other node, and the config names no place.
var ErrNowhere = errors.New("no other node is there to keep a backup, and the config names no backup.dir or " +
	"backup.command")

// Now brings a backup to where there is none that has what there is now. The error says what it did
// not get to; it may be on other nodes for all that.
func (c *Controller) Now(ctx context.Context) error {
	c.round.Lock()
	defer c.round.Unlock()
	now := State{}
	err := c.back(ctx, &now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Good.IsZero() {
		now.Good = c.state.Good
	}
	if err != nil {
		now.Why = err.Error()
	}
	c.state = now
	for _, why := range now.Places {
		err = errors.Join(err, errors.New(why))
	}
	return err
}

// back makes a backup, and notes what became of it.
func (c *Controller) back(ctx context.Context, now *State) error {
	content, key, err := c.read(ctx)
	if err != nil {
		return err
	}
	header, err := content.Header()
	if err != nil {
		return err
	}
	sealed := sync.OnceValues(func() ([]byte, error) {
		seal, err := key.Seal()
		if err != nil {
			return nil, err
		}
		return content.Sealed(seal)
	})
	holders, err := c.nodes.List(ctx)
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	now.Nodes = len(holders)
	now.Have, err = c.ontoNodes(ctx, decide(holders, header.Content), sealed)
	good := now.Have
	for _, p := range c.places {
		switch placed := p.put(ctx, header, sealed); {
		case placed != nil:
			now.Places = append(now.Places, placed.Error())
		default:
			good++
		}
	}
	switch {
	case good > 0:
		now.Good = time.Now()
	case err == nil && len(c.places) == 0:
		return ErrNowhere
	}
	return err
}

// ontoNodes brings a backup onto as many nodes as there should be, and returns how many have it.
func (c *Controller) ontoNodes(ctx context.Context, is plan, sealed func() ([]byte, error)) (have int, err error) {
	var errs []error
	have = is.have
	for _, n := range is.next {
		if have >= onNodes {
			break
		}
		data, err := sealed()
		if err != nil {
			return have, err
		}
		if err := c.nodes.Keep(ctx, n, data); err != nil {
			errs = append(errs, fmt.Errorf("bring a backup to %s: %w", n.Display, err))
			continue
		}
		have++
	}
	if have >= onNodes {
		return have, nil
	}
	return have, errors.Join(errs...)
}
