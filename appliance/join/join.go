// Package join makes servers into nodes of one cluster: the cluster's own CA,
// the join string, the exchange in which a worker trades the string's secret for
// a certificate, and the mutual TLS that nodes speak from then on.
//
// What a join string promises, and to whom:
//
//   - The node checks the hash of the CA's public key before it sends a byte of
//     its own, so an impostor learns nothing.
//
//   - The node's key is made on the node and never leaves it. Its ID is a hash of
//     its public key: nobody can ask for another node's ID, and a join that is
//     tried again after a power cut gets the same ID again.
//
//   - A worker's certificate is good for its own address and loopback only, never
//     for a manager's address or for a host name: Docker trusts this CA for
//     MASTER:8003, so a worker must not be able to pass for MASTER. Nodes know
//     each other by ID and role in the certificate, not by address.
//
//   - What a node says of itself is for people. What it may do follows from what Swarm
//     says of it (Server.rights, Identity.Require), at each renewal and at each call: a
//     certificate says what a node may be at most. Until Swarm has the node, the
//     certificate is good for a day.
//
// A join goes through phases, each on disk before the next begins (Journal), so
// that a power cut is mended by running the same command again:
//
//	started ──▶ certified ──▶ swarm-joined ──▶ done
//
// All secrets are in files with mode 0600 in folders with mode 0700.
package join

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// DefaultPort is where nodes speak mutual TLS, and where a node joins.
const DefaultPort = 7980

// KeyHash is the SHA-256 of a public key in its SubjectPublicKeyInfo form.
type KeyHash [sha256.Size]byte

func hashOf(cert *x509.Certificate) KeyHash {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// ClusterID is the short name of the cluster with this CA: 16 hex digits.
func (h KeyHash) ClusterID() string { return hex.EncodeToString(h[:8]) }

func checkRole(role string) error {
	if role != fleet.RoleManager && role != fleet.RoleWorker {
		return fmt.Errorf("role is %q, want %s or %s", role, fleet.RoleManager, fleet.RoleWorker)
	}
	return nil
}
