package join

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// ManagerIdentity returns the identity of the manager that has the CA. It is made
// and kept in dir at first; later only the certificate is issued anew, when it
// is due or when the manager's name or address changed. The error is
// ErrOtherCluster or ErrOtherRole where dir belongs to another node.
func ManagerIdentity(dir string, ca *CA, self Self, member Membership) (*Identity, error) {
	id, err := LoadIdentity(dir)
	if errors.Is(err, ErrNotJoined) {
		return newManager(dir, ca, self, member)
	}
	if err != nil {
		return nil, err
	}
	if id.CA() != ca.Hash() {
		return nil, ErrOtherCluster
	}
	if id.Node.Role != fleet.RoleManager {
		return nil, ErrOtherRole
	}
	unmarked := !holdsCA(id.Certificate().Leaf) // of a version before marks
	moved := id.Self.Name != self.Name || id.Self.Addr != self.Addr
	id.Self, id.member = self, member
	id.member.Cluster = ca.Hash().ClusterID()
	if moved || unmarked || id.NeedsRenewal(time.Now()) {
		return id, ca.Reissue(id)
	}
	return id, id.save()
}

func newManager(dir string, ca *CA, self Self, member Membership) (*Identity, error) {
	key, _, err := nodeKey(dir)
	if err != nil {
		return nil, err
	}
	id := &Identity{Self: self, dir: dir, key: key, ca: ca.cert, renew: make(chan struct{}, 1), member: member}
	id.member.Cluster = ca.Hash().ClusterID()
	return id, ca.Reissue(id)
}

// Reissue gives the manager that has the CA a new certificate for its key, and
// saves it.
func (ca *CA) Reissue(id *Identity) error {
	if err := checkAddr(id.Self.Addr); err != nil {
		return fmt.Errorf("issue manager's certificate for %s: %w", id.Self.Addr, err)
	}
	der, err := request(id.key)
	if err != nil {
		return err
	}
	csr, err := checkRequest(der)
	if err != nil {
		return fmt.Errorf("issue manager's certificate: %w", err)
	}
	cert, err := ca.issue(csr, id.managerGrant())
	if err != nil {
		return fmt.Errorf("issue manager's certificate: %w", err)
	}
	if err := id.use(cert.Raw); err != nil {
		return fmt.Errorf("use manager's certificate: %w", err)
	}
	return id.save()
}

func (id *Identity) managerGrant() grant {
	g := grant{Role: fleet.RoleManager, HoldsCA: true, Epoch: max(id.Membership().Renew, id.Membership().Epoch), Addrs: []netip.Addr{id.Self.Addr.Unmap()}}
	if isHostName(id.Self.Name) {
		g.Names = []string{id.Self.Name}
	}
	return g
}
