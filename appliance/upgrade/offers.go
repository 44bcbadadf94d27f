package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// ErrUnderWay is returned by Offers while an upgrade is under way.
var ErrUnderWay = errors.New("an upgrade is under way already; look with `crawlbox nodes`, and run the command again " +
	"when it is over")

// Offers is the program that a manager offers to the nodes, and itself. It has none after a
// start: the client that began an upgrade brings it again. It is safe for concurrent use.
type Offers struct {
	directory Directory
	nodes     Nodes
	one       sync.Mutex // is held by the upgrade under way

	mu  sync.Mutex
	now Offer
}

// OpenOffers removes what an upgrade that was cut off has left.
func OpenOffers(directory Directory, nodes Nodes) *Offers {
	_ = os.RemoveAll(directory.Offered())
	return &Offers{directory: directory, nodes: nodes}
}

// Put takes a program to be offered, if it is what o says, and returns what it is.
func (f *Offers) Put(ctx context.Context, o Offer, program io.Reader) (Offer, error) {
	if !f.one.TryLock() {
		return Offer{}, ErrUnderWay
	}
	defer f.one.Unlock()
	o, err := f.directory.Put(ctx, o, program)
	if err != nil {
		return Offer{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = o
	return o, nil
}

// Open opens what is offered, by its checksum.
func (f *Offers) Open(sum string) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sum == "" || f.now.SHA256 != sum {
		return nil, errors.New("this program is not offered any more; run `crawlbox upgrade` again")
	}
	return os.Open(f.directory.Offered())
}

// RollOut brings the offer onto one node after the other, except for the last, and stops at
// the first that does not run it.
func (f *Offers) RollOut(ctx context.Context, steps []Step, o Offer, fn func(Event) error) error {
	if !f.one.TryLock() {
		return ErrUnderWay
	}
	defer f.one.Unlock()
	f.mu.Lock()
	if f.now.SHA256 == o.SHA256 {
		o.State = f.now.State
	}
	f.mu.Unlock()
	if err := Refuse(steps, o); err != nil {
		return err
	}
	for _, s := range steps {
		if s.Leave != "" || s.Last {
			continue
		}
		name := s.Node.Display
		err := upgradeNode(ctx, f.nodes, s.Node, o,
			func(text string) error { return fn(Event{Node: name, Text: text}) })
		if err != nil {
			return fmt.Errorf("%s: %w; the nodes after it were left as they are", name, err)
		}
	}
	return nil
}

// Plan asks all nodes at once how they are.
func (f *Offers) Plan(ctx context.Context, o Offer) ([]Step, error) {
	answers, err := f.nodes.UpgradeStates(ctx)
	return Plan(answers, o), err
}
