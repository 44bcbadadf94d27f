// Package autoscale decides how many replicas a service has by the length of the queue that it works off. It is pure:
// who calls it looks at the queue and at Swarm every few seconds, and tells what is seen and when; it answers with a
// number and the reason. What it remembers of a service is in its Policy, and is worth no more than some minutes: a
// manager that begins to lead begins anew, and takes its time before it ends anything.
//
// # Up
//
// At once, and to twice as many at the most within 30 s; from none to one at the first item. Replicas that have ended
// by themselves count as none.
//
// # Down
//
// Only when fewer would have done for 5 min, to the most that was needed in that time, and only as far as what ends
// holds no item: Swarm alone chooses what ends (see Victims), so where one of those that it may choose holds one,
// nothing ends yet. Where nobody knows who holds what, since nothing of the queue is leased, nothing ends before the
// queue is empty.
//
// A queue that can't be read changes nothing.
package autoscale
