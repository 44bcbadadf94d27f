// Package deploy changes services and says truthfully how far that is.
//
// What there is to do is decided purely: Plan compares the services of the
// config file with a snapshot and answers steps; Assess looks at the tasks of
// one service and answers how much of a change has come true. The Runner acts:
// it makes the change in Swarm, which from then on belongs to Swarm, and
// follows it until it is true, has failed, or nothing has moved for too long.
//
// A deploy has stages. Only the first can be broken off without a trace; what
// comes after it is followed to its end, and back where the version is bad:
//
//	stage: image onto every node ──▶ flip: one change in Swarm ──▶ watch ──▶ done
//	   └─▶ nothing has changed                       rolled back ◀──┘
package deploy
