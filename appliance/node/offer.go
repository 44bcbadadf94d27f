package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// offers is the program that the manager offers to the nodes, and itself. It has none
// after a start: who began an upgrade brings it again.
type offers struct {
	folder upgrade.Folder
	nodes  upgrade.Nodes
	one    sync.Mutex // is held by the upgrade under way

	mu  sync.Mutex
	now upgrade.Offer
}

// openOffers removes what an upgrade that was broken off has left.
func openOffers(folder upgrade.Folder, nodes upgrade.Nodes) *offers {
	_ = os.RemoveAll(folder.Offered())
	return &offers{folder: folder, nodes: nodes}
}

// Put takes a program to be offered, if it is what o says, and returns what it is.
func (f *offers) Put(ctx context.Context, o upgrade.Offer, program io.Reader) (upgrade.Offer, error) {
	if !f.one.TryLock() {
		return upgrade.Offer{}, errUpgrading
	}
	defer f.one.Unlock()
	o, err := f.folder.Put(ctx, o, program)
	if err != nil {
		return upgrade.Offer{}, api.Invalid("%s", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = o
	return o, nil
}

var errUpgrading = api.Conflict("an upgrade is under way already; look with `crawlbox nodes`, and run the command again when it is over")

// open opens what is offered.
func (f *offers) open(sum string) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sum == "" || f.now.SHA256 != sum {
		return nil, errors.New("this program is not offered any more; run `crawlbox upgrade` again")
	}
	return os.Open(f.folder.Offered())
}

func (f *offers) fetch(_ context.Context, o upgrade.Offer) (io.ReadCloser, error) {
	return f.open(o.SHA256)
}

// serve gives the program to nodes.
func (f *offers) serve(rw http.ResponseWriter, r *http.Request) {
	program, err := f.open(r.PathValue("sum"))
	if err != nil {
		http.Error(rw, err.Error(), http.StatusGone)
		return
	}
	defer program.Close()
	rw.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.Copy(rw, program) // the node checks what it got
}

// Bring brings the offer onto one node after the other, but for the last, and stops at
// the first that does not run it.
func (f *offers) Bring(ctx context.Context, steps []upgrade.Step, o upgrade.Offer, fn func(upgrade.Event) error) error {
	if !f.one.TryLock() {
		return errUpgrading
	}
	defer f.one.Unlock()
	for _, s := range steps {
		if s.Leave != "" || s.Last {
			continue
		}
		name := s.Node.Display
		err := upgrade.Bring(ctx, f.nodes, s.Node, o, func(text string) error { return fn(upgrade.Event{Node: name, Text: text}) })
		if err != nil {
			return fmt.Errorf("%s: %w; the nodes after it were left as they are", name, err)
		}
	}
	return nil
}

// upgradePlan asks all nodes at once how they are.
func (m *Manager) upgradePlan(ctx context.Context, o upgrade.Offer) ([]upgrade.Step, error) {
	nodes, err := m.engine.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	answers, self := map[string]upgrade.Answer{}, ""
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, n := range nodes {
		if n.Addr == m.addr.String() {
			self = n.ID
		}
		all.Go(func() {
			a := m.askUpgradable(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			answers[n.ID] = a
		})
	}
	all.Wait()
	return upgrade.Plan(nodes, self, answers, o), nil
}

func (m *Manager) askUpgradable(ctx context.Context, n fleet.Node) (a upgrade.Answer) {
	if n.State != fleet.StateReady {
		a.Err = fmt.Errorf("it is %s; run the same command again when it is back", n.State)
		return a
	}
	a.State, a.Err = m.UpgradeState(ctx, n)
	return a
}
