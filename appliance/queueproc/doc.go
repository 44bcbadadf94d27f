// Package queueproc runs the embedded queue in a process of its own, which can
// neither read the node's files nor end the node.
//
//	manager (root)                              queue (own user, no rights)
//	Supervisor ── listening socket ───────────▶ embedded/queue ◀── clients
//	           ── settings, certificates ─────▶ guard, TLS
//	           ── connections to an engine ──▶ or embedded/queue/front
//	           ◀── questions about clients ──
//	           ◀── progress, log, failure ─────
//
// With [Options.Engine] it is a front of another server (package front) instead, to which the
// manager makes the connections when it is asked over a socket: the process can't, and gets no
// others. Where the engine moves, [Supervisor.SetEngine] has its clients follow.
//
// With [Options.Leases] a front is before the queue's own engine too, in the same process, and package
// keeper keeps the leases of its clients: it asks whose connections they are, and how containers
// ended. A pair of sockets for each client comes from the manager then, since the process can make none.
//
// What parses the bytes of strangers and spiders is on the right. It is the same
// program, started with the hidden command of [Main], and is in the [sandbox] before
// it reads the first byte of a client. What the manager reads of it is one small
// message a line, bounded, and only shown to people.
//
// The manager opens the port, so that a port which is taken is an error of its start,
// and keeps it open: clients that come while the process is started again wait in the
// kernel's backlog. The process ends when its end of the control socket does, whether
// the manager stops it or has died; signals of a terminal or of systemd, which all
// processes get, do nothing to it.
//
// # What can go wrong
//
// Whatever happens to the process, [Supervisor.Run] goes on and so does the manager:
// a process that ends is started again after a pause that grows from a second to a
// minute, also where its data is damaged or the directory cannot be used, and
// [Supervisor.State] has the reason, for people.
//
// Whether it is well is seen by its progress, which it tells each second without
// waiting for a lock. A queue that is busy, or on a machine that is, tells it late or
// shows a command that takes long, and is left alone; see health for what counts as
// hung and is killed.
package queueproc
