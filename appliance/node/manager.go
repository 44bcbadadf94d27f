package node

import (
	"context"
	"errors"
	"net/http"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
)

// authorityOf returns what a manager keeps. One that joined has an identity already.
func (n *Node) authorityOf(self pki.Self, joined *pki.Identity) authority.Options {
	calls := agent.NewManagers(func() *http.Client { return n.toManagers }, n.cfg.Node.Port)
	return authority.Options{
		DataDir:  n.cfg.DataDir,
		NodeDir:  setup.NodeDir(n.cfg),
		Self:     self,
		Port:     n.cfg.Node.Port,
		Gossip:   n.cfg.Gossip.Port,
		Joined:   joined,
		Replicas: authority.Replicas(n.engine, calls, joined == nil, n.log),
		Log:      n.log,
	}
}

// errAnew ends a node that is to be built again, since it has another part in the cluster.
var errAnew = errors.New("this node has another part in its cluster now")

// awaitState ends the node, to be built again as a manager with the cluster's state, once it can get that.
func (n *Node) awaitState(ctx context.Context) error {
	if authority.Await(ctx, n.authorityOf(n.identity.Self, n.identity)) == nil {
		n.leaving(errAnew)
		<-ctx.Done()
	}
	return nil
}
