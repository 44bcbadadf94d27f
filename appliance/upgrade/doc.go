// Package upgrade brings another version of crawlbox onto the nodes of a cluster,
// without a container being restarted.
//
// The manager offers a program to one node after the other, the workers first and
// itself last: a version that is no good is found out where the least hangs on it,
// and the one that offers it stays as it is. A node fetches the program, checks it,
// and hands it to its [Keeper]: a process of the old version beside the node, which
// swaps the programs, restarts the node and goes back if it does not become ready.
//
// The keeper writes down each step before it takes it, see [Journal], and goes on only
// when that, and each program, would be there after a power cut. It is started again,
// also at boot, until it has come to an end, and takes up what it finds:
//
//	staged ──▶ swapped ──▶ done
//	              └─────▶ returning ──▶ returned
//
// So whenever a node is cut off, it ends with one of the two versions running. The
// offer itself is not written down: the same command again skips nodes that have the version.
package upgrade
