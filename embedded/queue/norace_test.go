//go:build !race

package queue

const slowdown = 1
