package pki

import (
	"crypto/x509"
	"slices"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// IsManager reports whether the certificate is that of a manager by what this node heard
// last: one that says so and is on the list of managers, which follows Swarm's. The
// manager that has the CA is known by its certificate.
func (id *Identity) IsManager(leaf *x509.Certificate) bool {
	info, err := InfoFrom(leaf)
	if err != nil || info.Role != fleet.RoleManager {
		return false
	}
	// A manager of a version before this one has no list.
	list := id.Membership().ManagerIDs
	return HoldsCA(leaf) || len(list) == 0 || slices.Contains(list, info.ID)
}

// Role returns the role that this node's certificate has now, which may be another than it was started as.
func (id *Identity) Role() string {
	info, err := InfoFrom(id.Certificate().Leaf)
	if err != nil {
		return ""
	}
	return info.Role
}

// roleOf returns the role of a node by what this node heard last.
func (id *Identity) roleOf(leaf *x509.Certificate) string {
	if id.IsManager(leaf) {
		return fleet.RoleManager
	}
	return fleet.RoleWorker
}

// holderMark is in the certificate that the manager with the CA signs for itself, and in no
// other: so nodes know it whatever they have heard of managers.
const holderMark = "ca"

func HoldsCA(leaf *x509.Certificate) bool {
	return slices.Contains(leaf.Subject.OrganizationalUnit, holderMark)
}

// epochMark begins the epoch of a certificate; see members.
const epochMark = "epoch-"

// EpochOf is 0 for certificates of versions that knew none.
func EpochOf(leaf *x509.Certificate) int {
	for _, unit := range leaf.Subject.OrganizationalUnit {
		if text, ok := strings.CutPrefix(unit, epochMark); ok {
			n, _ := strconv.Atoi(text)
			return n
		}
	}
	return 0
}
