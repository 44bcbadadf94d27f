// Package valkey runs the cluster's queue on Valkey, with a replica on another manager, and moves it there when its
// machine is lost. It has no Sentinel, which breaks over announced addresses on Swarm, and needs none: who is
// primary is a document of the cluster's state, which Swarm's raft lets one manager change at a time.
//
//	          manager that leads                    managers 1 and 2
//	Controller ── sees ── decides ── commits        service crawlbox-queue-N, pinned ── Valkey
//	     └─────────────── shapes ──────────────────────────▲
//	                                                Guard ──┘ holds writes while the replica does not answer
//
// # Why no older epoch's write is accepted
//
// A [Document] names the primary and its epoch, which grows with each move. The lease of a primary is its replica:
// with min-replicas-to-write it takes writes only while the replica acknowledges, and only the replica can take its
// place. To promote is to have the replica acknowledge no longer, and to let it take writes after [fenceTime], when
// the old primary refuses them, wherever it is and whatever runs beside it. So no clocks of two machines are
// compared, and who is cut off refuses by itself.
//
// Without the replica the primary has to go on alone, and then nobody may take its place. Both are steps of the
// document, so that two managers that think they lead can't take both:
//
//	alone ──▶ Fenced: the primary is told to want its replica ──▶ InSync: it does; the replica may be promoted
//	  ▲            │ the replica is lost                              │                    │ the primary is lost
//	  └────────────┴──────────────────────────────────────────────────┘                    ▼
//	                                                                   the next epoch: the replica is it, alone
//
// A Valkey that starts refuses writes and replicas until it was seen what it is: the configuration that it starts
// with wants a replica and knows no user for one. So an old primary that comes back does no harm, and is made the
// replica; and one that comes back without its data is not followed by the other. What it was told last, with the
// epoch of its data, is a key in the last database, signed, since clients write there too; who is told something older
// than that by a manager that was held up refuses. The user of replicas has another name and password after each change
// of machines, so that a replica that was replaced, and is not reached, can't acknowledge for the one in its place.
//
// A write counts as accepted when its client has the answer. A process that was stopped and goes on may do what lay
// in its sockets, before it looks at the time; so fronts close their connections to a primary whose epoch is over.
//
// # What is lost
//
// Replication does not wait for the replica, so what was acknowledged in the last moment may be lost with a
// machine: that is milliseconds. Of a primary that is cut off with its clients the [Guard] on its manager holds
// writes back when the replica has not acknowledged within a second; min-replicas-to-write, which takes longer, is
// for when that does not run. The journal is written to disk each second (AOF everysec).
//
// # Who may
//
// Engines speak TLS alone, and want of whoever connects a certificate of an authority that is theirs ([Keys]), and then
// a password: who controls them that of the user "default", and the fronts of all nodes that of a user who may do what
// programs do and not change an engine ([Document.Front]). Valkey looks at nothing else in the certificate of its
// primary than who signed it, and what for: so only the engines have one of a server.
//
// # Where it runs
//
// On two managers that do not lead the swarm, where there are as many: then the loss of the leader, after which
// Swarm changes nothing for 10 to 20 s, touches neither of the two. A primary on the leader hands over to its
// replica, for which writes wait a moment and none is lost.
package valkey
