// Package exchange brings blobs to many nodes in about the time of one copy: nodes
// give each other pieces while they get the rest. DESIGN.md beside this file has the
// protocol in a page, what it is measured against, and what was dropped.
//
// The parts, from below: package cut (how a blob is cut, and one that fills in any
// order), slots and handout (what is given to whom), tracker (who takes part), fetch
// with its peers and flights (what is asked of whom), and Network, by which nodes reach
// each other: in memory in tests, else by package wire.
package exchange
