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
	"log/slog"
	"net/netip"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/cluster/addressbook"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
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

	self       pki.Self
	managers   []netip.AddrPort
	gossipPort uint16
	log        *slog.Logger
	state      *state.Disk
	engine     *swarm.Engine
}

// Open loads what a manager with a data directory keeps, and creates what is missing.
// managers are the addresses at which the nodes find the managers, and gossip has a port.
func Open(
	dataDir, nodeDir string, self pki.Self, managers []netip.AddrPort, gossip uint16, log *slog.Logger,
) (*Authority, error) {
	store, err := state.Open(state.Dir(dataDir), state.Options{
		Author: self.Name,
		Files:  state.Files(dataDir),
		Dirs:   state.Dirs(dataDir),
		Check:  check,
		// A node that leaves removes its identity too.
		Left: func() bool { return !pki.HasIdentity(nodeDir) },
		Log:  log,
	})
	if err != nil {
		return nil, err
	}
	a := &Authority{self: self, managers: managers, gossipPort: gossip, log: log, state: store}
	if err := a.load(nodeDir); err != nil {
		store.Close()
		return nil, err
	}
	return a, nil
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

func (a *Authority) load(nodeDir string) (err error) {
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
	a.Identity, err = pki.ManagerIdentity(nodeDir, a.CA, a.self, pki.Membership{Managers: a.managers})
	return err
}

func (a *Authority) Deploys() *state.Group { return state.NewGroup(a.state, state.History) }

// Numbers returns where the numbers of images are kept.
func (a *Authority) Numbers() *state.Document { return state.NewDocument(a.state, state.Numbers) }

// Recovery returns where the recovery key is kept.
func (a *Authority) Recovery() *state.Document { return state.NewDocument(a.state, state.Recovery) }

// ServicesAway returns where it is kept which services of the config file were removed by hand.
func (a *Authority) ServicesAway() *state.Document { return state.NewDocument(a.state, state.Away) }

// Close closes the cluster's state.
func (a *Authority) Close() { a.state.Close() }

// Locate begins the address book of the nodes in the swarm of an engine.
func (a *Authority) Locate(e *swarm.Engine) {
	a.engine = e
	a.Book = addressbook.New(e, a.remotes, a.self.Addr, a.log)
}

// Seeds returns where gossip looks for others, after Locate.
func (a *Authority) Seeds() []netip.AddrPort { return a.Book.Seeds(a.gossipPort) }

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
		Swarm:    swarm,
		Seeds:    a.Seeds,
		Nodes:    a.Book.Known,
		Managers: func() []netip.AddrPort { return a.managers },
		Changed:  changed,
		Audit:    audit,
		Log:      a.log,
	})
	return err
}

// Run tells nodes the news until ctx ends.
func (a *Authority) Run(ctx context.Context) error { return a.Joins.Run(ctx) }

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
	return token, []string{netip.AddrPortFrom(a.self.Addr, swarm.Port).String()}, err
}

// SwarmNodes implements enroll.Swarm.
func (a *Authority) SwarmNodes(context.Context) ([]member.Node, error) {
	nodes, err := a.Book.Nodes()
	list := memberNodes(nodes)
	for i := range list {
		list[i].First = list[i].Addr == a.self.Addr
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

// MembersOf returns the certificates of a node.
func (a *Authority) MembersOf(n fleet.Node) []member.Member { return a.Members.Of(memberNode(n)) }
