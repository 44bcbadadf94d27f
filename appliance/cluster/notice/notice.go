// Package notice is how the nodes of a cluster hear that it was restored: the manager that has its CA
// now says where it is, in an epoch that is higher than that of the manager before, signed by the CA.
// Who brings a notice does not matter, and neither does whom it is brought to: a stranger can't sign
// one, and an older one says nothing new.
package notice

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
)

// ErrReplaced is returned on the manager of a cluster that was restored on another machine.
var ErrReplaced = errors.New("this cluster was restored on another machine, so this manager has stood down")

// What Check returns.
var (
	ErrUnsigned = errors.New("the notice is not signed by the cluster's CA")
	ErrOutdated = errors.New("the notice says nothing new: the cluster's epoch is not higher in it than it is here")
)

// Notice says that a cluster was restored, and where its managers are.
type Notice struct {
	Cluster   string           `json:"cluster"` // pki.KeyHash.ClusterID
	Epoch     int              `json:"epoch"`
	Managers  []netip.AddrPort `json:"managers"` // where they speak mutual TLS, 1 to maxManagers
	Signature []byte           `json:"signature,omitempty"`
}

const (
	maxManagers = 16
	maxEpoch    = 99999
)

// text returns what is signed.
func (n Notice) text() ([]byte, error) {
	n.Signature = nil
	text, err := json.Marshal(n)
	return append([]byte("crawlbox notice 1\n"), text...), err
}

// Sign returns the notice signed by the CA of its cluster.
func (n Notice) Sign(ca *pki.CA) (Notice, error) {
	n.Cluster = ca.Hash().ClusterID()
	text, err := n.text()
	if err == nil {
		n.Signature, err = ca.Sign(text)
	}
	if err != nil {
		return Notice{}, fmt.Errorf("sign a notice: %w", err)
	}
	return n, nil
}

// Check returns why a node with an identity, that knows of an epoch, does not follow the notice.
func (n Notice) Check(id *pki.Identity, epoch int) error {
	text, err := n.text()
	if err != nil || n.Cluster != id.CA().ClusterID() || !id.SignedByCA(text, n.Signature) {
		return ErrUnsigned
	}
	if len(n.Managers) == 0 || len(n.Managers) > maxManagers || n.Epoch < 0 || n.Epoch > maxEpoch {
		return ErrUnsigned // nobody signs that
	}
	if n.Epoch <= epoch {
		return ErrOutdated
	}
	return nil
}

// Load reads a notice that is kept in a file. It is the zero Notice where there is none.
func Load(path string) (n Notice, err error) {
	if _, err = durable.ReadJSON(path, &n); err != nil {
		return n, fmt.Errorf("read the notice that this cluster was restored: %w", err)
	}
	return n, nil
}

// Save keeps the notice in a file.
func (n Notice) Save(path string) error {
	if err := durable.WriteJSON(path, n); err != nil {
		return fmt.Errorf("keep the notice that this cluster was restored: %w", err)
	}
	return nil
}
