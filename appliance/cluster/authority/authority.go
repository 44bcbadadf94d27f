// Package authority is the manager that holds the cluster's CA: it lets nodes in, tells
// them the news of the cluster and puts them out.
//
// It opens what says who this manager is and who else may do what (CA, join tokens,
// members, gossip keys, registry accounts, identity), all of it documents of the cluster's
// state, and stands between enrollment, which knows certificates, and Swarm, which knows
// nodes.
package authority

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/cluster/addressbook"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/notice"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/registries"
	"github.com/crawlbox/crawlbox/appliance/registries/tags"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// Authority is the holder of the CA. Locate and Serve have to be called before its methods.
type Authority struct {
	CA       *pki.CA
	Tokens   *token.Store
	Members  *member.List
	Keys     *member.Keys // of gossip
	Accounts *access.Accounts
	Identity *pki.Identity
	Book     *addressbook.Book
	Joins    *enroll.Server

	opts   Options
	newer  Newer
	state  *state.Disk
	engine *swarm.Engine
}

// Options are what an Authority is opened with.
type Options struct {
	DataDir string
	NodeDir string        // of the identity
	Self    pki.Self      // of this manager
	Port    uint16        // where nodes speak to each other
	Gossip  uint16        // its port
	Joined  *pki.Identity // of a manager that joined; nil: this one created the cluster
	Has     replica.Has   // beside the state
	// Replicas keep the state with this manager; nil: it keeps it alone.
	Replicas *replica.Set
	Log      *slog.Logger
}

// ErrNoState is returned where a manager that joined has yet to get the cluster's state.
var ErrNoState = errors.New("this manager does not have the cluster's state yet")

// Open loads what a manager keeps. One that created the cluster creates what is missing; one that joined
// gets the state from another manager at first, which ends with ctx. The error is ErrNoState where it can't.
func Open(ctx context.Context, opts Options) (*Authority, error) {
	a := &Authority{opts: opts}
	var err error
	if a.state, err = openState(opts); err != nil {
		return nil, err
	}
	if err := a.load(ctx); err != nil {
		a.state.Close()
		return nil, err
	}
	return a, nil
}

// Begin has an epoch begin in the state of a manager on which no crawlbox runs, alone: its documents are
// what change makes of those that there are. Where it has begun, nothing is done. It returns the newest
// commit.
func Begin(opts Options, epoch int, change func(state.Contents) (state.Contents, error)) (state.Version, error) {
	opts.Replicas = nil
	store, err := openState(opts)
	if err != nil {
		return "", err
	}
	defer store.Close()
	return store.Begin(epoch, "recovered", change)
}

// check returns why a file of a version before is none of a document.
func check(name string, data []byte) error {
	switch {
	case name == state.CA:
		return pki.CheckCA(data)
	case name == state.Tokens:
		return token.Check(data)
	case name == state.Accounts:
		return access.CheckAccounts(data)
	case strings.HasPrefix(name, state.History):
		return history.Check(data)
	}
	return member.Check(name, data)
}

func (a *Authority) load(ctx context.Context) (err error) {
	if a.opts.Joined != nil {
		if err := a.obtain(ctx); err != nil {
			return err
		}
	}
	if a.CA, err = pki.LoadOrCreateCA(a.state); err != nil {
		return err
	}
	if a.Tokens, err = token.Open(a.state); err != nil {
		return err
	}
	if a.Members, err = member.Open(a.state, pki.NodeLife()); err != nil {
		return err
	}
	if a.Keys, err = member.OpenKeys(a.state); err != nil {
		return err
	}
	if a.Accounts, err = access.OpenAccounts(state.NewDocument(a.state, state.Accounts)); err != nil {
		return err
	}
	if _, err = backup.OpenKey(a.Recovery()); err != nil {
		return err
	}
	if a.Identity = a.opts.Joined; a.Identity == nil {
		a.Identity, err = pki.ManagerIdentity(a.opts.NodeDir, a.CA, a.opts.Self,
			pki.Membership{Managers: []netip.AddrPort{a.at(a.opts.Self.Addr)}})
	}
	return err
}

// obtain gets the state of a cluster that others created.
func (a *Authority) obtain(ctx context.Context) error {
	ca := state.NewDocument(a.state, state.CA)
	if _, err := ca.Load(); err == nil {
		return nil
	}
	err := a.state.Sync(ctx)
	if err == nil {
		_, err = ca.Load()
	}
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrNoState, err)
	}
	return nil
}

// at returns the port between nodes at an address.
func (a *Authority) at(addr netip.Addr) netip.AddrPort { return netip.AddrPortFrom(addr, a.opts.Port) }

// Managers returns the ports of the managers that have the state: this one first, and then the one that has
// had it longest.
func (a *Authority) Managers() []netip.AddrPort {
	return a.replicas(a.opts.Self.Addr, func(replica.Replica) bool { return true })
}

// Full returns those of the managers that have all images.
func (a *Authority) Full() []netip.AddrPort {
	own := a.opts.Self.Addr
	if !a.opts.Has.AllImages() {
		own = netip.Addr{}
	}
	return a.replicas(own, func(r replica.Replica) bool { return r.Full && r.Addr != a.opts.Self.Addr })
}

// HomeOfQueue returns where the manager is that has the cluster's queue. It is not valid where none has.
func (a *Authority) HomeOfQueue() netip.Addr {
	if a.opts.Has.Queue {
		return a.opts.Self.Addr
	}
	if a.newer.Home != nil {
		if home := a.newer.Home(); home.IsValid() {
			return home
		}
	}
	for _, r := range a.Replicas() {
		if r.Queue {
			return r.Addr
		}
	}
	return netip.Addr{}
}

// replicas returns the ports of those that fit, and of one that is the first where it is valid.
func (a *Authority) replicas(first netip.Addr, fits func(replica.Replica) bool) (list []netip.AddrPort) {
	if first.IsValid() {
		list = append(list, a.at(first))
	}
	for _, r := range a.Replicas() {
		if fits(r) && r.Addr != first {
			list = append(list, a.at(r.Addr))
		}
	}
	return list
}

func (a *Authority) Deploys() *state.Group { return state.NewGroup(a.state, state.History) }

// Runs returns where the records of runs are kept.
func (a *Authority) Runs() *state.Group { return state.NewGroup(a.state, state.Runs) }

// Queue returns where it is kept how services and nodes reach the queue. All nodes are told.
func (a *Authority) Queue() *state.Document { return state.NewDocument(a.state, state.Queue) }

// queueAsTold returns that as nodes are told it; empty: nobody has said it yet.
func (a *Authority) queueAsTold() []byte {
	data, err := a.Queue().Load()
	if err == nil && a.newer.Tell != nil {
		data = a.newer.Tell(data)
	}
	if err != nil || len(data) > pki.MaxQueue {
		return nil
	}
	return data
}

// Newer is what a manager knows of the home of the queue that the state has yet to say: for that Swarm has to have a
// leader.
type Newer struct {
	Home func() netip.Addr        // not valid: the state says it
	Tell func(data []byte) []byte // how the queue is reached there, of what the state has
}

// FollowHome has what is known of the home of the queue count before what the state says. It is to be called before
// Serve.
func (a *Authority) FollowHome(n Newer) { a.newer = n }

// Valkey returns where it is kept where the queue's Valkey is.
func (a *Authority) Valkey() *state.Document { return state.NewDocument(a.state, state.Valkey) }

// Schedules returns where the schedules of runs are kept.
func (a *Authority) Schedules() *state.Document { return state.NewDocument(a.state, state.Schedules) }

// Alerts returns where alerts are kept.
func (a *Authority) Alerts() *state.Document { return state.NewDocument(a.state, state.Alerts) }

// HomeFiles returns where those files of the home of the queue are kept that go into backups.
func (a *Authority) HomeFiles() *state.Document { return state.NewDocument(a.state, state.HomeFiles) }

// Numbers returns where the numbers of images are kept.
func (a *Authority) Numbers() *state.Document { return state.NewDocument(a.state, state.Numbers) }

// Recovery returns where the recovery key is kept.
func (a *Authority) Recovery() *state.Document { return state.NewDocument(a.state, state.Recovery) }

// Tags returns what the tags of images point at.
func (a *Authority) Tags() (*tags.Tags, error) { return tags.Open(a.state) }

// OtherManagers returns the other managers that have the state, those after this one first.
func (a *Authority) OtherManagers() (list []registries.Manager) {
	if a.opts.Replicas == nil {
		return nil
	}
	before := 0
	for _, r := range a.opts.Replicas.List() {
		if r.Addr == a.opts.Self.Addr {
			before = len(list)
			continue
		}
		list = append(list, registries.Manager{Name: r.Name, Addr: a.at(r.Addr)})
	}
	return slices.Concat(list[before:], list[:before])
}

// IsFull reports whether this manager had all images when it was looked last.
func (a *Authority) IsFull() bool {
	return a.opts.Replicas != nil && slices.ContainsFunc(a.opts.Replicas.List(), func(r replica.Replica) bool {
		return r.Addr == a.opts.Self.Addr && r.Full
	})
}

// Notice returns what tells nodes that the cluster was restored, and how often that was.
func (a *Authority) Notice() (notice.Notice, error) {
	return notice.Notice{Epoch: a.state.Epoch(), Managers: []netip.AddrPort{a.at(a.opts.Self.Addr)}}.Sign(a.CA)
}

// Services returns where it is kept which services are in force.
func (a *Authority) Services() *state.Document { return state.NewDocument(a.state, state.Services) }

// Sync brings the state up to date with that of the other managers.
func (a *Authority) Sync(ctx context.Context) error { return a.state.Sync(ctx) }

// Replicas returns the managers that have the state.
func (a *Authority) Replicas() []replica.Replica {
	if a.opts.Replicas == nil {
		return nil
	}
	return a.opts.Replicas.List()
}

// ManagerIDs returns the IDs of the certificates of all managers, and of those that may become some.
func (a *Authority) ManagerIDs() (list []string) {
	for _, m := range a.Members.All() {
		if m.Role == fleet.RoleManager {
			list = append(list, m.ID)
		}
	}
	return list
}

// ServicesAway returns where it is kept which services of the config file were removed by hand.
func (a *Authority) ServicesAway() *state.Document { return state.NewDocument(a.state, state.Away) }

// Close closes the cluster's state. A nil Authority was not opened.
func (a *Authority) Close() {
	if a != nil {
		a.state.Close()
	}
}

// Locate begins the address book of the nodes in the swarm of an engine.
func (a *Authority) Locate(e *swarm.Engine) {
	a.engine = e
	a.Book = addressbook.New(e, a.remotes, a.opts.Self.Addr, a.opts.Log)
}

// Seeds returns where gossip looks for others, after Locate.
func (a *Authority) Seeds() []netip.AddrPort { return a.Book.Seeds(a.opts.Gossip) }

// Serve makes what lets nodes in, after Locate, and asks a swarm for them, which a itself is by
// its engine. changed is told the news of the cluster as the nodes are, the first time before
// Serve returns.
func (a *Authority) Serve(
	swarm enroll.Swarm, changed func(pki.Membership), audit func(event string, attrs ...slog.Attr),
) (err error) {
	a.Joins, err = enroll.NewServer(enroll.Options{
		CA:       a.CA,
		Tokens:   a.Tokens,
		Members:  a.Members,
		Keys:     a.Keys,
		Identity: a.Identity,
		Joined:   a.opts.Joined != nil,
		Restored: a.state.Epoch(),
		Swarm:    swarm,
		Seeds:    a.Seeds,
		Nodes:    a.Book.Known,
		Managers: a.Managers,
		Full:     a.Full,
		Queue:    a.queueAsTold,
		Changed:  changed,
		Audit:    audit,
		Log:      a.opts.Log,
	})
	return err
}

// Follow keeps the cluster's state what Swarm says is the newest, until ctx ends.
func (a *Authority) Follow(ctx context.Context) error { return follow(ctx, a.state, a.opts.Replicas) }

// Problem returns what is wrong with the cluster's state, if anything is. It may be asked of nil, which
// has none.
func (a *Authority) Problem() string {
	if a == nil {
		return ""
	}
	return a.state.Problem()
}

// Run does what is left of removals until ctx ends, on the manager that leads.
func (a *Authority) Run(ctx context.Context) error { return a.Joins.Run(ctx) }

// Keep tells nodes the news until ctx ends, on every manager.
func (a *Authority) Keep(ctx context.Context) error { return a.Joins.Keep(ctx, a.state.Changed) }

// TellAddresses tells nodes where the others are until ctx ends.
func (a *Authority) TellAddresses(ctx context.Context) error { return a.Book.Run(ctx, a.Joins.Refresh) }

// remotes returns the addresses from which nodes got their certificates.
func (a *Authority) remotes() (list []netip.Addr) {
	for _, n := range a.Members.All() {
		if n.Remote.IsValid() {
			list = append(list, n.Remote.Unmap())
		}
	}
	return list
}

// SwarmJoinToken implements enroll.Swarm.
func (a *Authority) SwarmJoinToken(ctx context.Context, role string) (token string, managers []string, err error) {
	token, err = a.engine.JoinToken(ctx, role)
	for _, m := range a.Managers() {
		managers = append(managers, netip.AddrPortFrom(m.Addr(), swarm.Port).String())
	}
	return token, managers, err
}

// SwarmNodes implements enroll.Swarm.
func (a *Authority) SwarmNodes(context.Context) ([]member.Node, error) {
	nodes, err := a.Book.Nodes()
	list := memberNodes(nodes)
	for i := range list {
		list[i].First = list[i].Addr == a.opts.Self.Addr
	}
	return list, err
}

// RotateJoinTokens implements enroll.Swarm.
func (a *Authority) RotateJoinTokens(ctx context.Context) error {
	return a.engine.RotateJoinTokens(ctx, fleet.RoleWorker, fleet.RoleManager)
}

// RemoveNode implements enroll.Swarm. Swarm keeps a manager until it is demoted.
func (a *Authority) RemoveNode(ctx context.Context, id string) error {
	a.Book.Forget()
	err := a.engine.RemoveNode(ctx, id, true)
	if errors.Is(err, swarm.ErrNotFound) {
		return nil
	}
	return err
}

// Demoted changes what a demoted node knew as a manager, and tells the nodes that it is
// none.
func (a *Authority) Demoted(ctx context.Context) error {
	a.Book.Forget()
	return a.Joins.Demoted(ctx)
}

// Promote lets a node have a manager's certificate, once Swarm has it as a manager.
func (a *Authority) Promote(n fleet.Node) error {
	var ids []string
	for _, m := range a.MembersOf(n) {
		ids = append(ids, m.ID)
	}
	a.Book.Forget()
	return a.Members.Promote(ids...)
}

// MembersOf returns the certificates of a node.
func (a *Authority) MembersOf(n fleet.Node) []member.Member { return a.Members.Of(memberNode(n)) }
