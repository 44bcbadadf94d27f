// Package bound bounds what others can make a node do: how much it reads of an answer
// or a question, and how often it does something for one of them.
//
// It is the one way in which JSON from the network is read; a test of the tree's
// architecture finds other ways.
package bound
