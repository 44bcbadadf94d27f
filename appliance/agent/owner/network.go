package owner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// questionsAtOnce is how many questions to one node are under way at a time: a spider there
// can cause them.
const questionsAtOnce = 8

// errOtherProgram is for programs on nodes that ask the registry on the network by
// themselves.
var errOtherProgram = errors.New("what asks is not the Docker Engine of its node")

// Network is the rule of the registry on the network for those without credentials.
type Network struct {
	prover   *Prover
	identity *pki.Identity
	members  *member.List
	peers    *agent.Peers
	self     netip.Addr
	asked    *bound.Places[netip.Addr]
}

// NewNetwork makes the rule of a manager that others reach at an address.
func NewNetwork(p *Prover, id *pki.Identity, list *member.List, peers *agent.Peers, self netip.Addr) *Network {
	return &Network{p, id, list, peers, self, bound.NewPlaces[netip.Addr](questionsAtOnce)}
}

// Right returns what a program may do with the registry by its being where it is.
func (n *Network) Right(r *http.Request) (access.Right, error) {
	if _, err := n.identity.Peer(r); err == nil {
		return access.Read, nil
	}
	server, client, err := ends(r)
	if err != nil {
		return access.None, err
	}
	if doctor.IsLocal(client.Addr().Unmap()) {
		if err := n.prover.ownDocker(r.Context(), client, server, errOtherProgram); err != nil {
			return access.None, err
		}
		return access.Write, nil
	}
	nodes := n.members.At(client.Addr())
	if len(nodes) == 0 {
		return access.None, fmt.Errorf("no node of the cluster is at %s", client.Addr().Unmap())
	}
	docker, err := proofOf(r.Context()).of(func() (bool, error) { return n.ask(r.Context(), nodes, client, server) })
	switch {
	case err != nil:
		return access.None, fmt.Errorf("ask the node at %s who wants images: %w", client.Addr().Unmap(), err)
	case !docker:
		return access.None, errOtherProgram
	}
	return access.Read, nil
}

// ask asks the node at the client's address, which must be one of nodes.
func (n *Network) ask(ctx context.Context, nodes []member.Member, client, server netip.AddrPort) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	leave, err := n.asked.Enter(ctx, client.Addr())
	if err != nil {
		return false, err
	}
	defer leave()
	remotes := []netip.AddrPort{server, netip.AddrPortFrom(n.self, server.Port())}
	a, err := call.Ask(ctx, n.peers.At(client.Addr(), nodes), request{Local: client, Remote: remotes})
	return a.Docker, err
}
