//go:build race

package queue

// slowdown is by how much tests of large amounts do less: the race detector makes
// each command ten times slower.
const slowdown = 10
