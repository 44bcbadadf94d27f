package valkey

import (
	"fmt"
	"sync/atomic"
)

// Status says how Valkey is, on each manager: what the document says, and what the controller has seen where one runs.
type Status struct {
	Store Store

	leads atomic.Pointer[Controller]
}

// Lead has a controller run here, nil when it does no longer.
func (s *Status) Lead(c *Controller) { s.leads.Store(c) }

// Where returns the names of the nodes that the primary and its replica are on; empty: there is none.
func (s *Status) Where() (primary, replica string) {
	d, _, _ := s.look()
	p, r := d.primary()
	switch {
	case d.Primary == 0:
		return "", ""
	case r == nil:
		return p.Name, ""
	}
	return p.Name, r.Name
}

// Bad returns why nothing can be done with the queue, where and what to do; empty: something can, or there is none.
func (s *Status) Bad() string {
	d, seen, problem := s.look()
	p, r := d.primary()
	switch is := seen[d.Primary]; {
	case d.Wanted == (Wanted{}):
		return ""
	case d.Primary == 0 && problem != "":
		return "the queue has no Valkey yet: " + problem
	case is.Lost == 0:
		return ""
	case d.InSync:
		return fmt.Sprintf("the queue's Valkey on %s is away (%s); the one on %s takes its place within seconds",
			p.Name, is.Problem, r.Name)
	default:
		return fmt.Sprintf("the queue's Valkey on %s is away (%s) and no other has all that it had; start that "+
			"server, or see `crawlbox logs %s`", p.Name, is.Problem, p.Service())
	}
}

// Warn returns why the queue would not outlive a server, or can't be changed; empty: it would.
func (s *Status) Warn() string {
	d, seen, problem := s.look()
	p, r := d.primary()
	switch {
	case d.Wanted == (Wanted{}) || d.Primary == 0:
		return ""
	case problem != "":
		return "the queue goes on as it is: " + problem
	case r == nil:
		return fmt.Sprintf("the queue is on %s alone and stands still while that is away; with a second manager it "+
			"has a replica there: `crawlbox node promote NODE`", p.Name)
	case d.InSync:
		return ""
	case seen[r.Slot].Lost > 0:
		return fmt.Sprintf("the queue is on %s alone: its replica on %s is away (%s); start that server, or see "+
			"`crawlbox logs %s`", p.Name, r.Name, seen[r.Slot].Problem, r.Service())
	default:
		return fmt.Sprintf("the queue is on %s alone until its replica on %s has all of it", p.Name, r.Name)
	}
}

func (s *Status) look() (d Document, seen Seen, problem string) {
	d, err := Load(s.Store)
	if err != nil {
		return Document{}, nil, ""
	}
	if c := s.leads.Load(); c != nil {
		seen, problem = c.Seen()
	}
	return d, seen, problem
}
