// Package enroll makes servers into nodes of one cluster: the exchange in which a node
// trades the secret of a join token for a certificate, both sides of it, and what a
// manager and its nodes tell each other from then on.
//
// What a join token promises, and to whom:
//
//   - The node checks the hash of the CA's public key before it sends a byte of
//     its own, so an impostor learns nothing.
//
//   - The node's key is made on the node and never leaves it. Its ID is a hash of
//     its public key: nobody can ask for another node's ID, and a join that is
//     tried again after a power cut gets the same ID again.
//
//   - What a node says of itself is for people. What it may do follows from what Swarm
//     says of it (Server.rights, Require), at each renewal and at each call: a
//     certificate says what a node may be at most. Until Swarm has the node, the
//     certificate is good for a day.
//
// A join goes through phases, each on disk before the next begins (Journal), so
// that a power cut is mended by running the same command again:
//
//	started ──▶ certified ──▶ swarm-joined ──▶ done
package enroll

// DefaultPort is the port where nodes speak mutual TLS, and where a node joins.
const DefaultPort = 7980
